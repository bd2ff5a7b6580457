"""Post the failed tests to a chat, once no retry is left.

Retries, with longer and longer pauses, are for what may pass, such as an outage; failed tests burn
none. Needs a connection ``empirical_default`` of type Empirical, a running triggerer, and in
``ALERT_URL`` the address that takes the message, such as an incoming webhook.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider import GateClosedError
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator


def post_failed_tests(context: Any) -> None:
    """Say which tests have kept the gate closed, or what else has failed."""
    error = context["exception"]
    text = str(error)
    if isinstance(error, GateClosedError):
        failed = "\n".join(f"- {name}" for name in error.verdict["failed_tests"])
        text = f"{text}\n{failed}"
    httpx.post(os.environ["ALERT_URL"], json={"text": text}, timeout=10).raise_for_status()


with DAG(
    dag_id="alert_on_failure",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as dag:
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        wait_for_completion=True,
        deferrable=True,
        retries=3,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(minutes=10),
        on_failure_callback=post_failed_tests,
    )

    @task
    def promote() -> None:
        """Send all users to the new version."""

    gate >> promote()
