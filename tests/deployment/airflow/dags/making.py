"""What the DAGs of the deployment are made with: each is one gate in one scenario."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

SYNC: dict[str, Any] = {"wait_for_completion": True, "deferrable": False}
DEFERRABLE: dict[str, Any] = {"wait_for_completion": True, "deferrable": True}

SECRET: dict[str, Any] = {"environment_variables_overrides": {"FLAVOUR": "{{ var.value.flavour }}"}}
"""What every run is started with: a secret whose name gives nothing away, for `test_leaks.py`."""

SENSORS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "sensor": {"deferrable": True},
}


def dag(dag_id: str) -> DAG:
    """Return a DAG that runs when it is told to, whose gate is called ``gate``."""
    return DAG(dag_id=dag_id, schedule=None, is_paused_upon_creation=False, max_active_tasks=32)


def gate(dag_id: str, kind: type = EmpiricalTriggerTestRunOperator, **fields: Any) -> None:
    """Make a DAG with a gate on the environment of its name.

    Each file of DAGs has a connection of its own, to the emulator of the module that tests them.
    """
    quickly = {"poll_interval": 1} if fields.get("wait_for_completion") else {}
    with dag(dag_id):
        kind(task_id="gate", **{**quickly, "environment": dag_id, **SECRET, **fields})


def sensor(dag_id: str, *, empirical_conn_id: str, **fields: Any) -> None:
    """Make a DAG with a task that starts a run, and a sensor that is the gate."""
    with dag(dag_id):
        started = EmpiricalTriggerTestRunOperator(
            task_id="e2e", environment=dag_id, empirical_conn_id=empirical_conn_id, **SECRET
        )
        EmpiricalTestRunSensor(
            task_id="gate",
            test_run_id=started.output,
            empirical_conn_id=empirical_conn_id,
            poke_interval=2,
            **fields,
        )
