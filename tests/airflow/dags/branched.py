"""Branches behind gates that did not run this time, that were skipped, and that are mapped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, task, task_group
    from airflow.sdk.execution_time.xcom import XCom
except ImportError:  # Airflow 2
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG
    from airflow.models.xcom import XCom

from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalTriggerTestRunOperator,
)

RELEASED = "3f786850e387550fdab836ed7e6dc881de23001b"
ITS_RUN = "{{ ti.xcom_pull('place.gate', key='test_run_id', map_indexes=ti.map_index) }}"
WAITS: dict[str, Any] = {"wait_for_completion": True, "deferrable": False, "poll_interval": 0.1}
WAYS: dict[str, Any] = {"trigger_rule": "all_done"}


def ways_of(where: str) -> dict[str, Any]:
    return {"follow_if_passed": f"{where}promote", "follow_if_failed": f"{where}roll_back", **WAYS}


@task
def promote() -> None:
    """Send all users to the new version."""


@task
def roll_back() -> None:
    """Send all users to the version before."""


with DAG(
    dag_id="branched",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"earlier": 0},
) as dag:

    @task
    def release(**context: Any) -> None:
        """Fail, when the gate has left what it leaves until it starts again after a clear."""
        ti, run_id = context["ti"], int(context["params"]["earlier"])
        left = {"test_run_id": run_id, "verdict": {"run_id": run_id, "decision": "pass"}}
        for key, value in left.items():
            where = {"dag_id": ti.dag_id, "task_id": "gate", "run_id": ti.run_id}
            XCom.set(key=key, value=value, **where)
        raise RuntimeError("The release has failed.")

    gate = EmpiricalTriggerTestRunOperator(task_id="gate", environment="staging", **WAITS)
    stale = EmpiricalBranchOperator(task_id="stale", **ways_of(""))
    release() >> gate >> stale >> [promote(), roll_back()]

    skips: dict[str, Any] = {"policy": {"wrong_commit": "skip"}}
    skipped = EmpiricalTriggerTestRunOperator(
        task_id="skipped", environment="staging", expect_commit=RELEASED, **WAITS, **skips
    )
    skipped >> EmpiricalBranchOperator(task_id="skips", **ways_of(""), **skips)

    @task_group
    def place(environment: str) -> None:
        tested = EmpiricalTriggerTestRunOperator(
            task_id="gate", environment=environment, expect_commit=RELEASED, **WAITS
        )
        decide = EmpiricalBranchOperator(task_id="decide", **ways_of("place."))
        named = EmpiricalBranchOperator(
            task_id="named",
            test_run_id=ITS_RUN,
            **ways_of("place."),
        )
        ways = [promote(), roll_back()]
        tested >> decide >> ways
        tested >> named >> ways

    place.expand(environment=["production", "staging"])
