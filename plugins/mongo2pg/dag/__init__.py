"""The engine in Airflow, which no other room knows; `databases.connections` alone asks it for connections.

pipeline              the DAG of a domain
reconcile_pipeline    the one that compares and repairs
platform_pipeline     the one that runs all domains
params                the trigger form
tasks                 what tasks of every DAG share
task_run              what a task knows of its run
"""
