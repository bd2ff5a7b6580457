"""Give red tests one more chance: a retry re-runs those that failed, and no others.

Needs a connection ``empirical_default`` of type Empirical, and a running triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="rerun_failures",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"version": "1.0.0"},
    tags=["empirical"],
) as dag:
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        build={"version": "{{ params.version }}"},
        wait_for_completion=True,
        deferrable=True,
        on_retry_after_red="rerun_failed",
        retries=1,
        retry_delay=timedelta(seconds=5),
        key_in_environment=True,  # before Airflow 3.3 the retry finds the red run by it
    )

    @task
    def promote(verdict: dict) -> str:
        """Say what was promoted, and on which evidence."""
        return f"Promoted: {verdict['summary']}"

    gate >> promote(gate.output["verdict"])
