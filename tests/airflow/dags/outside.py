"""Mapped branches that are followed by a task which all of their indexes share."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task, task_group
except ImportError:  # Airflow 2
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalTriggerTestRunOperator,
)


@task
def promote() -> None:
    """Send all users to the new version."""


with DAG(dag_id="outside", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):

    @task_group
    def place(environment: str) -> EmpiricalBranchOperator:
        gate = EmpiricalTriggerTestRunOperator(
            task_id="gate",
            environment=environment,
            wait_for_completion=True,
            deferrable=False,
            poll_interval=0.1,
        )
        decide = EmpiricalBranchOperator(task_id="decide", follow_if_passed="promote")
        gate >> decide
        return decide

    place.expand(environment=["staging"]) >> promote()

    start = EmpiricalTriggerTestRunOperator.partial(
        task_id="start", wait_for_completion=True, deferrable=False, poll_interval=0.1
    ).expand(environment=["staging"])
    each = EmpiricalBranchOperator.partial(
        task_id="each", follow_if_passed="promote__1", expect_commit=False
    ).expand(test_run_id=start.output)
    each >> promote()
