"""Mappings as text, and objects with templates inside, where all is rendered as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider import Build, Concurrency, EnvironmentVariable
from empirical_provider.airflow.operators import (
    EmpiricalTriggerTestRunOperator as Trigger,
)

PARAMS: dict[str, Any] = {
    "ticket": "1234567",
    "version": "1.40",
    "commit": "0123456789",
    "tags": '["@smoke"]',
}
GATE: dict[str, Any] = {"wait_for_completion": True, "deferrable": False, "poll_interval": 0.1}


@task
def deploy() -> dict[str, Any]:
    """Say what was deployed."""
    return {"commit": "0123456789", "version": "1.40"}


with DAG(
    dag_id="as_text",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params=PARAMS,
):
    deployed = deploy()
    json_of_it = "{{ ti.xcom_pull('deploy') | tojson }}"
    Trigger(
        task_id="json", environment="staging", build=json_of_it, tags="{{ params.tags }}", **GATE
    ).set_upstream(deployed)
    Trigger(
        task_id="python", environment="staging", build="{{ ti.xcom_pull('deploy') }}"
    ).set_upstream(deployed)
    Trigger(
        task_id="objects",
        environment="staging",
        build=Build(commit="{{ params.commit }}", version="{{ params.version }}"),
        concurrency=Concurrency(group="{{ params.ticket }}", on_conflict="wait"),
        environment_variables_overrides=[
            EnvironmentVariable(name="TICKET", value="{{ params.ticket }}")
        ],
    )
    Trigger(
        task_id="overrides",
        environment="staging",
        environment_variables_overrides='{"TICKET": "{{ params.ticket }}"}',
    )
