"""Release several services with a gate each, and promote them once every gate is open.

Which services there are, and what was deployed of each, comes out of a task. Needs a connection
``empirical_default`` of type Empirical, and a running triggerer.
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
    dag_id="gate_each_service",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as dag:

    @task
    def deploy() -> list[dict[str, object]]:
        """Deploy, and say for each service what its gate needs; what is None would be rejected."""
        return [
            {"environment": "staging", "build": {"version": "1.4.0"}, "tags": ["@checkout"]},
            {"environment": "production", "build": {"version": "2.0.1"}},
        ]

    gates = EmpiricalTriggerTestRunOperator.partial(
        task_id="gates", wait_for_completion=True, deferrable=True
    ).expand_kwargs(deploy())

    @task
    def promote(test_run_id: int) -> str:
        """Send all users of one service to its new version."""
        return f"Tested by run {test_run_id}."

    promote.expand(test_run_id=gates.output)
