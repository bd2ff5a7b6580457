"""Release and start the tests; what comes after them starts when Empirical's webhook comes.

No task waits meanwhile. ``webhook_receiver.py`` turns a webhook into an event of an asset, and that
starts the second DAG. A webhook is a hint to look, and comes for every run of the project: so only
the run of the newest release counts, and its verdict is read from Empirical.

Needs a connection ``empirical_default`` of type Empirical, a running triggerer, and Airflow 3.0 or
newer: what starts the second DAG has other names before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, Asset, task
except ImportError:  # Airflow 2 can read this file, and run the first DAG
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

STARTED = Asset("empirical-tests-started")
TOLD = Asset("empirical-webhooks")

with DAG(
    dag_id="before_webhook",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"version": "1.0.0"},
    tags=["empirical"],
) as before:

    @task
    def release() -> str:
        """Put the version where it can be tested."""
        return "https://staging.example.com/"

    EmpiricalTriggerTestRunOperator(
        task_id="e2e",
        environment="staging",
        build={"url": release(), "version": "{{ params.version }}"},
        outlets=[STARTED],  # with the run's id
    )

with DAG(
    dag_id="after_webhook",
    schedule=[TOLD],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as after:

    @task.short_circuit(inlets=[STARTED])
    def newest(triggering_asset_events: Any = None, inlet_events: Any = None) -> int | None:
        """Return the run of the newest release if a webhook is about it; else all is skipped.

        So a webhook that comes late, or that somebody has recorded and sends again, does not bring
        an older release back.
        """
        told = {event.extra["test_run_id"] for event in triggering_asset_events[TOLD]}
        started = [event.extra["test_run_id"] for event in inlet_events[STARTED]]
        return started[-1] if started and started[-1] in told else None

    gate = EmpiricalTestRunSensor(
        task_id="gate", test_run_id=newest(), deferrable=True, timeout=3600
    )

    @task
    def promote(verdict: dict) -> str:
        """Say what was promoted, and on which evidence."""
        return f"Promoted: {verdict['summary']}"

    gate >> promote(gate.output["verdict"])
