"""Deploy, and gate on the tests of what was deployed, in one task group that other DAGs can repeat.

What is deployed comes out of the deploy task as a whole: the gate expects its commit. Needs a
connection ``empirical_default`` of type Empirical, such as by the environment variable
``AIRFLOW_CONN_EMPIRICAL_DEFAULT``, and a running triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from airflow.sdk import DAG, task, task_group
except ImportError:  # Airflow 2
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="gate_in_task_group",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"commit": "3f786850e387550fdab836ed7e6dc881de23001b"},
    tags=["empirical"],
) as dag:

    @task_group
    def release() -> None:
        """Deploy to staging, and test what is there."""

        @task
        def deploy(params: dict[str, Any] | None = None) -> dict[str, str]:
            """Deploy, and say what the tests will find."""
            return {"url": "https://staging.example.com", "commit": (params or {})["commit"]}

        EmpiricalTriggerTestRunOperator(
            task_id="gate",
            environment="staging",
            build=deploy(),
            wait_for_completion=True,
            deferrable=True,
            timeout=timedelta(hours=1),
        )

    @task
    def promote() -> str:
        """Send all users to the new version."""
        return "Promoted."

    release() >> promote()
