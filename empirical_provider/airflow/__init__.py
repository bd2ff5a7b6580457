"""Empirical for Apache Airflow: a connection type, operators, a sensor and their trigger."""
