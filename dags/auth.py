"""Airflow DAG of the auth domain: users, skill trees, social connections and progress points."""

from deepiri.auth import AUTH
from mongo2pg.pipeline import domain_dag

domain_dag(AUTH)
