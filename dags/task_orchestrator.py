"""Airflow DAG of the domain task_orchestrator: tasks, their versions and their dependencies."""

from deepiri.registry import DOMAINS, TASK_ORCHESTRATOR
from mongo2pg.dag.pipeline import domain_dag

domain_dag(TASK_ORCHESTRATOR, DOMAINS)
