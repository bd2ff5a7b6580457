"""Empirical for Apache Airflow: a hook with its connection type, operators and their link."""
