"""Test one release in several environments at once: one gate each, made by dynamic task mapping.

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
    dag_id="matrix_of_environments",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"version": "1.0.0"},
    tags=["empirical"],
) as dag:

    @task
    def environments() -> list[str]:
        """Say where the release is; the answer may differ from day to day."""
        return ["production", "staging"]

    gates = EmpiricalTriggerTestRunOperator.partial(
        task_id="gates",
        metadata={"release": "{{ params.version }}"},
        wait_for_completion=True,
        deferrable=True,
        max_active_tis_per_dagrun=10,
    ).expand(environment=environments())

    @task
    def promote(test_run_ids: list[int]) -> str:
        """Go live: every gate is open."""
        return f"Tested by runs {', '.join(map(str, sorted(test_run_ids)))}."

    promote(gates.output)
