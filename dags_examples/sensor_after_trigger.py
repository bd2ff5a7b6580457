"""Start the tests, do something else meanwhile, and only then wait for the verdict.

Needs a connection ``empirical_default`` of type Empirical, and a running triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

with DAG(
    dag_id="sensor_after_trigger",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as dag:
    e2e = EmpiricalTriggerTestRunOperator(task_id="e2e", environment="staging")

    @task
    def write_release_notes() -> str:
        """Use the time that the tests take."""
        return "Faster checkout."

    tested = EmpiricalTestRunSensor(
        task_id="tested",
        test_run_id=e2e.output,
        deferrable=True,  # without a triggerer: mode="reschedule", poke_interval=60
        timeout=3600,
    )

    @task
    def promote(notes: str, test_run_id: int) -> str:
        """Go live with the notes, and with the run that allows it."""
        return f"{notes} Tested by run {test_run_id}."

    promote(write_release_notes(), tested.output)
