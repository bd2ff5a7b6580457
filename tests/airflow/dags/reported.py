"""Gates that leave reports: mapped ones, and one with a path of Airflow's object storage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, ObjectStoragePath
except ImportError:  # Airflow 2
    from airflow.io.path import ObjectStoragePath
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="reported",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"folder": ""},
) as dag:
    waits: dict[str, Any] = {"wait_for_completion": True, "poll_interval": 0.1}
    EmpiricalTriggerTestRunOperator.partial(
        task_id="gates",
        report_path="{{ params.folder }}/{{ run_id }}-{{ ti.map_index }}.json",
        **waits,
    ).expand(environment=["production", "staging"])
    EmpiricalTriggerTestRunOperator(
        task_id="stored",
        environment="staging",
        report_path=ObjectStoragePath("file:///{{ params.folder.lstrip('/') }}/{{ run_id }}.xml"),
        **waits,
    )
