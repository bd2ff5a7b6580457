"""An operator that the function of another task executes, as people do to choose its arguments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="inside",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    default_args={"policy": {"min_tests": 5}, "deferrable": True},
):

    @task
    def gate(**context: Any) -> int:
        """Test what was released."""
        operator = EmpiricalTriggerTestRunOperator(
            task_id="e2e",
            environment="staging",
            wait_for_completion=True,
            deferrable=True,
            poll_interval=0.1,
        )
        run_id: int = operator.execute(context)
        return run_id

    gate()

    EmpiricalTriggerTestRunOperator(task_id="start", environment="production")
