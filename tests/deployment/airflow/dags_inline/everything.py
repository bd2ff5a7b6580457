"""All gates of `basics.py` in one DAG, as `airflow dags test` takes seconds to start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
except ImportError:
    from airflow.operators.empty import EmptyOperator

SECRET = {"FLAVOUR": "{{ var.value.flavour }}"}
OPERATOR = {"sync": {"deferrable": False}, "deferrable": {"deferrable": True}}
SENSOR: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "sensor": {"deferrable": True},
}


class Quick(EmpiricalTriggerTestRunOperator):
    """Its trigger looks at once: there is no race to lose where it runs in the task's process."""

    first_poll_delay = 0.0
    visibility_grace = 0.5


class QuickSensor(EmpiricalTestRunSensor):
    """As above."""

    first_poll_delay = 0.0


class Interrupted(Quick):
    """Its first try ends when the run has been started."""

    def execute(self, context: Any) -> int:
        if context["ti"].try_number == 1:
            self._start(context)
            raise RuntimeError("interrupted")
        return super().execute(context)


def started(name: str, kind: type[Quick] = Quick, **fields: Any) -> Quick:
    """Return a task that starts a run in the environment of its name."""
    return kind(
        task_id=name,
        environment=name.removeprefix("start-"),
        environment_variables_overrides=SECRET,
        **({"poll_interval": 0.5} if fields.get("wait_for_completion") else {}),
        **fields,
    )


with DAG(
    dag_id="everything",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    default_args={"retries": 2, "retry_delay": timedelta(0)},
) as dag:
    # The gates are red where they should be, and the DAG run is green: so the command ends well.
    end = EmptyOperator(task_id="end", trigger_rule="all_done")
    started("trigger-only") >> end
    started("worker-killed", Interrupted, wait_for_completion=True, deferrable=False) >> end
    for colour in ("green", "red"):
        for mode, fields in OPERATOR.items():
            started(f"{mode}-{colour}", wait_for_completion=True, **fields) >> end
        for mode, fields in SENSOR.items():
            run = started(f"start-{mode}-{colour}")
            gate = QuickSensor(
                task_id=f"{mode}-{colour}", test_run_id=run.output, poke_interval=1, **fields
            )
            gate >> end
