"""Airflow DAG of the domain notification: notifications and push subscriptions."""

from deepiri.registry import DOMAINS, NOTIFICATION
from mongo2pg.dag.pipeline import domain_dag

domain_dag(NOTIFICATION, DOMAINS)
