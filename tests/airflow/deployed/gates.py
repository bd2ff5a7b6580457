"""The DAGs of the deployment: each is one scenario of a deferred gate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

CROWD = 10


class Abandoned(EmpiricalTriggerTestRunOperator):
    """A gate whose trigger never comes round to looking, so that Airflow ends the deferral."""

    first_poll_delay = 3600.0
    backstop = 0.0


def gate(dag_id: str, kind: type = EmpiricalTriggerTestRunOperator, **fields: Any) -> None:
    with DAG(dag_id=dag_id, schedule=None, is_paused_upon_creation=False):
        kind(
            task_id="gate",
            wait_for_completion=True,
            deferrable=True,
            poll_interval=1,
            **{"environment": dag_id, **fields},
        )


gate("green", outlets=[Asset("shop-tested")])
gate("red", retries=2, retry_delay=timedelta(0))
gate("killed")
gate("limited", execution_timeout=timedelta(seconds=20), priority_weight=100)
gate("abandoned", Abandoned, timeout=10)
gate("storm", empirical_conn_id="stormy")

with DAG(dag_id="sensed", schedule=None, is_paused_upon_creation=False):
    EmpiricalTestRunSensor(
        task_id="gate",
        test_run_id=EmpiricalTriggerTestRunOperator(task_id="e2e", environment="sensed").output,
        mode="reschedule",
        poke_interval=2,
    )

with DAG(dag_id="crowd", schedule=None, is_paused_upon_creation=False):
    EmpiricalTriggerTestRunOperator.partial(
        task_id="gate",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=2,
        priority_weight=10,
    ).expand(environment=["crowd"] * CROWD)

    @task(priority_weight=1)
    def quick() -> str:
        return "done"

    quick()
