"""Release only the commit that was tested: the run is somebody else's, so that may be another one.

Needs a connection ``empirical_default`` of type Empirical. Started with the parameters
``test_run_id`` and ``commit``, say by the job that has had the tests run.
"""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

with DAG(
    dag_id="tested_commit",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"test_run_id": 0, "commit": ""},
    tags=["empirical"],
) as dag:
    tested = EmpiricalTestRunSensor(
        task_id="tested",
        test_run_id="{{ params.test_run_id }}",
        expect_commit="{{ params.commit }}",
    )

    @task
    def release() -> None:
        """Deploy the commit."""

    tested >> release()
