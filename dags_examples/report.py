"""Gate a release, and hand the tests to whoever reads JUnit XML: also, and above all, when red.

Needs a connection ``empirical_default`` of type Empirical, and a running triggerer. Started with
the parameter ``reports``: the URL of a folder that all workers share, or of a bucket, such as
``s3://my_aws@my-bucket`` with the id of a connection.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime

from junitparser import JUnitXml

try:
    from airflow.sdk import DAG, ObjectStoragePath, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.io.path import ObjectStoragePath
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

REPORT = "{{ params.reports }}/{{ run_id }}.xml"  # each run of the DAG has its own

with DAG(
    dag_id="report",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"reports": f"file://{tempfile.gettempdir()}"},
    tags=["empirical"],
) as dag:
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        wait_for_completion=True,
        deferrable=True,
        report_path=REPORT,
    )

    @task(trigger_rule="all_done")
    def publish(report: str) -> str:
        """Read the report, as any other tool would."""
        suites = JUnitXml.fromstring(ObjectStoragePath(report).read_bytes())
        return f"{suites.failures} of {suites.tests} failed."

    @task
    def promote() -> None:
        """Send all users to the new version."""

    gate >> [publish(REPORT), promote()]
