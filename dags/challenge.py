"""Airflow DAG of the domain challenge: challenges and their participants."""

from deepiri.registry import CHALLENGE, DOMAINS
from mongo2pg.dag.pipeline import domain_dag

domain_dag(CHALLENGE, DOMAINS)
