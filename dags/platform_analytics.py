"""Airflow DAG of the domain platform_analytics: analytics events."""

from deepiri.registry import DOMAINS, PLATFORM_ANALYTICS
from mongo2pg.dag.pipeline import domain_dag

domain_dag(PLATFORM_ANALYTICS, DOMAINS)
