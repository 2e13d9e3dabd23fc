"""Airflow DAG of the domain engagement: momentum, streaks, boosts, objectives, odysseys, seasons and rewards."""

from deepiri.registry import DOMAINS, ENGAGEMENT
from mongo2pg.dag.pipeline import domain_dag

domain_dag(ENGAGEMENT, DOMAINS)
