"""Airflow DAG that compares a domain with MongoDB as it is now and, if asked to, repairs what differs."""

from deepiri.registry import DOMAINS
from mongo2pg.dag.reconcile_pipeline import reconcile_dag

reconcile_dag(DOMAINS)
