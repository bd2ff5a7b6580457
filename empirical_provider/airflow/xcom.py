"""The XComs of this package: their keys are public for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical_provider.models import TestRun

__all__ = ["LINK", "TEST_RUN", "TEST_RUN_ID", "TEST_RUN_URL", "push_test_run"]

TEST_RUN_ID = "test_run_id"
"""Database id of the run, an integer."""

TEST_RUN_URL = "test_run_url"
"""Dashboard page of the run; absent while the project's slug is not known."""

TEST_RUN = "test_run"
"""The run as a plain dict: id, state, url, branch, created_at."""

LINK = "_link_EmpiricalTestRunLink"
"""Where Airflow 3 looks for the extra link. Airflow itself fills it only when the task ends."""


def push_test_run(ti: Any, run: TestRun) -> None:
    """Push what is known of a run, so that it is there even if the task fails later."""
    ti.xcom_push(key=TEST_RUN_ID, value=run.id)
    ti.xcom_push(key=TEST_RUN, value=run.as_dict())
    if run.url is not None:
        ti.xcom_push(key=TEST_RUN_URL, value=run.url)
        ti.xcom_push(key=LINK, value=run.url)
