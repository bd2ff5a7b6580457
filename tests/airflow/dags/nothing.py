"""Fields that are the output of a task that returns nothing, and fields that are not given."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator as Trigger

with DAG(dag_id="nothing", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

    @task
    def build() -> None:
        """Forget to return the commit."""

    commit = build()
    Trigger(task_id="gate", environment="staging", expect_commit=commit)
    Trigger.partial(task_id="mapped", expect_commit=commit).expand(environment=["staging"])
    Trigger.partial(task_id="open", environment="staging", branch=None).expand(tags=[None, ["@a"]])
