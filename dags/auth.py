"""Airflow DAG of the domain auth: users, skill trees, social connections and progress points."""

from deepiri.registry import AUTH, DOMAINS
from mongo2pg.dag.pipeline import domain_dag

domain_dag(AUTH, DOMAINS)
