"""Tasks whose first try does not end well, and two mapped ones that share a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator


class Quick(EmpiricalTriggerTestRunOperator):
    """It counts on lists: those of the local Empirical show runs at once."""

    visibility_grace = 0.5


class Interrupted(Quick):
    """Its first try ends when the run has been started."""

    def execute(self, context: Any) -> int:
        if context["ti"].try_number == 1:
            self._start(context)
            raise RuntimeError("interrupted")
        return super().execute(context)


with DAG(
    dag_id="durable",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"release": "1.4.2"},
    default_args={"retries": 1, "retry_delay": timedelta(0)},
) as dag:
    waits: dict[str, Any] = {
        "wait_for_completion": True,
        "deferrable": False,
        "poll_interval": 0.1,
    }
    interrupted = Interrupted(task_id="interrupted", environment="production", **waits)
    errored = Quick(task_id="errored", environment="staging", **waits)
    shared = Quick.partial(
        task_id="shared", environment="production", key="shop {{ params.release }}", **waits
    ).expand(metadata=[{"shop": "north"}, {"shop": "south"}])
    interrupted >> errored >> shared
