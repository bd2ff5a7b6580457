"""Promote the release if its tests passed, else roll it back.

Needs a connection ``empirical_default`` of type Empirical.
"""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalTriggerTestRunOperator,
)

with DAG(
    dag_id="promote_or_roll_back",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as dag:
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate", environment="production", wait_for_completion=True
    )

    decide = EmpiricalBranchOperator(
        task_id="decide",  # on the run that the task before has started
        follow_if_passed="promote",
        follow_if_failed="roll_back",
        trigger_rule="all_done",  # a red gate fails, and that is when there is something to decide
    )

    @task
    def promote() -> None:
        """Send all users to the new version."""

    @task
    def roll_back() -> None:
        """Send all users to the version before."""

    gate >> decide >> [promote(), roll_back()]
