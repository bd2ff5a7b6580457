"""Release, test, promote: the gate waits in the triggerer and holds no worker meanwhile.

Needs a connection ``empirical_default`` of type Empirical, and a running triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="gate_deferrable",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"version": "1.0.0"},
    tags=["empirical"],
) as dag:

    @task
    def release() -> str:
        """Put the version where it can be tested."""
        return "https://staging.example.com/"

    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        build={"url": "{{ ti.xcom_pull('release') }}", "version": "{{ params.version }}"},
        wait_for_completion=True,
        deferrable=True,
        timeout=3600,
        policy={"superseded": "skip", "min_tests": 5},
    )

    @task
    def promote(verdict: dict) -> str:
        """Say what was promoted, and on which evidence."""
        return f"Promoted: {verdict['summary']}"

    release() >> gate >> promote(gate.output["verdict"])
