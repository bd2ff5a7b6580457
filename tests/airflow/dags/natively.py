"""Templates that become numbers, mappings and lists, where all is rendered natively."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

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


@task
def tag(number: int) -> str:
    """Name a tag."""
    return f"@{number}"


with DAG(
    dag_id="natively",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params=PARAMS,
    render_template_as_native_obj=True,
):
    Trigger(
        task_id="digits",
        environment="staging",
        build={"version": "{{ params.ticket }}", "commit": "{{ params.ticket }}"},
        github_actor="{{ params.ticket }}",
        tags=["{{ params.ticket }}"],
        metadata={"ticket": "{{ params.ticket }}"},
        environment_variables_overrides={"PIN": "{{ params.ticket }}"},
        key="{{ params.ticket }}",
    )
    Trigger(task_id="float", environment="staging", build={"version": "{{ params.version }}"})
    Trigger(task_id="quoted", environment="staging", build={"version": "'{{ params.version }}'"})
    deployed = deploy()
    Trigger(
        task_id="whole",
        environment="staging",
        build="{{ ti.xcom_pull('deploy') }}",
        tags="{{ params.tags }}",
        **GATE,
    ).set_upstream(deployed)
    Trigger(task_id="lazy", environment="staging", tags=tag.expand(number=[1, 2]))
