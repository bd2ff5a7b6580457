"""Two gates on test runs that never end: one waits in a worker, one in the triggerer."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="shop_nightly",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
    tags=["shop"],
):
    for task_id, deferrable in (("checkout", False), ("search", True)):
        EmpiricalTriggerTestRunOperator(
            task_id=task_id,
            environment="nightly",
            wait_for_completion=True,
            deferrable=deferrable,
            poll_interval=2,
        )
