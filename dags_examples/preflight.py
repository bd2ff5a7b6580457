"""Look before the release whether it can be tested at all; else nothing is deployed.

Needs a connection ``empirical_default`` of type Empirical. Started with the parameter
``environment``.
"""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import (
    EmpiricalPreflightOperator,
    EmpiricalTriggerTestRunOperator,
)

TESTED = {"environment": "{{ params.environment }}", "tags": ["@smoke"]}

with DAG(
    dag_id="preflight",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"environment": "staging"},
    tags=["empirical"],
) as dag:
    look = EmpiricalPreflightOperator(task_id="look", **TESTED)

    @task
    def release() -> None:
        """Deploy the new version."""

    gate = EmpiricalTriggerTestRunOperator(task_id="gate", wait_for_completion=True, **TESTED)

    look >> release() >> gate
