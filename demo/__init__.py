"""The demo: embedded servers, a real Airflow and sample data, on one machine and for this machine alone."""
