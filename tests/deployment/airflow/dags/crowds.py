"""Gates that are many: see `test_crowds.py`."""

from __future__ import annotations

from typing import Any

from airflow.sdk import task
from making import DEFERRABLE, SECRET, SYNC, dag

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

WAITING = 10
"""More than the deployment has slots."""
PLACES = [f"place-{number:02}" for number in range(20)]
SHARING = 20


def gates(dag_id: str, fields: dict[str, Any], **mapped: list[Any]) -> None:
    """Make a DAG whose gate is mapped."""
    with dag(dag_id):
        EmpiricalTriggerTestRunOperator.partial(
            task_id="gate",
            empirical_conn_id="crowds",
            poll_interval=2,
            priority_weight=10,
            **SECRET,
            **fields,
        ).expand(**mapped)
        if dag_id == "waiting":

            @task(priority_weight=1)
            def quick() -> str:
                return "done"

            quick()


gates("waiting", DEFERRABLE, environment=["waiting"] * WAITING)
gates("places", DEFERRABLE, environment=PLACES)
gates(
    "sharing",
    {"environment": "sharing", "key": "shop 1.4.2", **SYNC},
    metadata=[{"shop": number} for number in range(SHARING)],
)
