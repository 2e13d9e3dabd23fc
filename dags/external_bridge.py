"""Airflow DAG of the domain external_bridge: webhooks and their logs."""

from deepiri.registry import DOMAINS, EXTERNAL_BRIDGE
from mongo2pg.dag.pipeline import domain_dag

domain_dag(EXTERNAL_BRIDGE, DOMAINS)
