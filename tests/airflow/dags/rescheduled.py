"""A sensor that is rescheduled until its time is up: its run does not end."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG

from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

with DAG(
    dag_id="rescheduled",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"test_run_id": 0},
) as dag:
    EmpiricalTestRunSensor(
        task_id="wait",
        test_run_id="{{ params.test_run_id }}",
        mode="reschedule",
        poke_interval=1,
        timeout=8,
    )
