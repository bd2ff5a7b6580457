"""One test run for a release, however many gates wait for it: they share a key.

Each shop has a gate of its own, here in one DAG, as well in many DAGs or DAG runs. The first gate
starts the run, the others go on with it, and all have its verdict. Another release is tested anew;
the same release with another build is refused.

Needs a connection ``empirical_default`` of type Empirical, and a running triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="one_run_per_release",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"release": "1.4.2"},
    tags=["empirical"],
) as dag:
    for shop in ("north", "south"):

        @task(task_id=f"promote_{shop}")
        def promote(shop: str, verdict: dict) -> str:
            """Say what was promoted, and on which evidence."""
            return f"The {shop} goes live: {verdict['summary']}"

        gate = EmpiricalTriggerTestRunOperator(
            task_id=f"gate_{shop}",
            environment="staging",
            build={"url": "https://staging.example.com/", "version": "{{ params.release }}"},
            key="shop {{ params.release }}",
            key_in_environment=True,  # run lists show it, so that the others find the run
            wait_for_completion=True,
            deferrable=True,
            retries=2,  # a retry goes on with the run of the try before
            retry_delay=timedelta(minutes=1),
        )
        promote(shop, gate.output["verdict"])
