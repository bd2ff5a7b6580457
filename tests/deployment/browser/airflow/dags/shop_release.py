"""A shop's release, as it is photographed: its gate is red, and so nothing is promoted."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, task

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="shop_release",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
    tags=["shop"],
):

    @task
    def deploy() -> str:
        """Put the version on staging and say where it answers."""
        return "https://staging.shop.example.com/4.2.0/"

    @task
    def promote() -> None:
        """Put the version live."""

    e2e_gate = EmpiricalTriggerTestRunOperator(
        task_id="e2e_gate",
        environment="staging",
        build={"url": deploy(), "version": "4.2.0"},
        environment_variables_overrides={"CHECKOUT_CODE": "{{ var.value.checkout_code }}"},
        wait_for_completion=True,
        deferrable=False,
        poll_interval=1,
    )
    e2e_gate >> promote()
