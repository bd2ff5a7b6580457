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
    waits = {"wait_for_completion": True, "deferrable": False}
    Trigger(task_id="gate", environment="staging", expect_commit=commit, **waits)
    Trigger.partial(task_id="mapped", expect_commit=commit, **waits).expand(environment=["staging"])
    there = {"environment": "staging"}
    Trigger.partial(task_id="open", branch=None).expand_kwargs(
        [
            there,
            {**there, "tags": ["@a"]},
            {**there, "tags": None},
            {"environment": None},
            {**there, "build": {"commit": None}},
        ]
    )

    @task
    def builds() -> list[dict[str, object]]:
        """Find out what was built, but not of what commit."""
        return [
            {"environment": "staging", "build": {"version": "1.4", "commit": None}},
            {"environment": None},
            {"environment": "staging", "key": None},
            {"environment": "staging", "build": {}},
            {"environment": "staging", "build": None},
            {"environment": "staging", "build": {"version": "1.5"}},
        ]

    Trigger.partial(task_id="built").expand_kwargs(builds())

    @task
    def built() -> dict[str, object]:
        """The same, for one task."""
        return {"version": "1.4", "commit": None}

    Trigger(task_id="plain", environment="staging", build=built())
