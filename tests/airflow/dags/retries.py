"""Two tasks that may be retried: the answer to one is going to be lost, the other to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(dag_id="retries", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
    lost, limited = (
        EmpiricalTriggerTestRunOperator(
            task_id=task_id,
            environment="staging",
            metadata={"note": "{{ 'planted-in-a-field' }}"},
            durable=False,
            trigger_rule="all_done",
            retries=2,
            retry_delay=timedelta(0),
        )
        for task_id in ("lost", "limited")
    )

    @task(trigger_rule="all_done")
    def end() -> None:
        """Let the DAG run succeed: what counts is how the tasks before ended."""
        print("planted-in-the-output")  # noqa: T201

    lost >> limited >> end()
