"""A gate, a branch and both ways in a mapped task group: see `test_branches.py`."""

from __future__ import annotations

from airflow.sdk import task, task_group
from making import SECRET, SYNC, dag

from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalTriggerTestRunOperator,
)

PLACES = ["branch-green", "branch-red"]


with dag("branches"):

    @task_group
    def place(environment: str) -> None:
        gate = EmpiricalTriggerTestRunOperator(
            task_id="gate",
            environment=environment,
            empirical_conn_id="branches",
            poll_interval=1,
            **SECRET,
            **SYNC,
        )
        decide = EmpiricalBranchOperator(
            task_id="decide",
            empirical_conn_id="branches",
            follow_if_passed="place.promote",
            follow_if_failed="place.roll_back",
            trigger_rule="all_done",
        )

        @task
        def promote() -> None:
            """Send all users to the new version."""

        @task
        def roll_back() -> None:
            """Send all users to the version before."""

        gate >> decide >> [promote(), roll_back()]

    place.expand(environment=PLACES)
