"""Airflow DAG of the whole platform: every domain in a run of its own DAG, then the references between them and one report."""

from deepiri.registry import DOMAINS
from mongo2pg.dag.platform_pipeline import platform_dag

platform_dag(DOMAINS)
