"""The XComs of this package: their keys are public for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical_provider.models import TestRun
    from empirical_provider.verdict import Verdict

__all__ = [
    "LINK",
    "TEST_RUN",
    "TEST_RUN_ID",
    "TEST_RUN_URL",
    "VERDICT",
    "pull",
    "pull_from",
    "push_test_run",
    "push_verdict",
]

TEST_RUN_ID = "test_run_id"
"""Database id of the run, an integer."""

TEST_RUN_URL = "test_run_url"
"""Dashboard page of the run; absent while the project's slug is not known."""

TEST_RUN = "test_run"
"""The run as a plain dict: id, state, url, branch, created_at."""

VERDICT = "verdict"
"""The verdict as a plain dict (`empirical_provider.Verdict.as_dict`), once there is one."""

LINK = "_link_EmpiricalTestRunLink"
"""Where Airflow 3 looks for the extra link. Airflow itself fills it only when the task ends."""


def push_test_run(ti: Any, run: TestRun) -> None:
    """Push what is known of a run, so that it is there even if the task fails later."""
    ti.xcom_push(key=TEST_RUN_ID, value=run.id)
    ti.xcom_push(key=TEST_RUN, value=run.as_dict())
    _push_url(ti, run.url)


def push_verdict(ti: Any, verdict: Verdict) -> None:
    """Push the verdict, and the run's page, which a task that started no run has not pushed yet."""
    ti.xcom_push(key=VERDICT, value=verdict.as_dict())
    _push_url(ti, verdict.url)


def _push_url(ti: Any, url: str | None) -> None:
    if url is not None:
        ti.xcom_push(key=TEST_RUN_URL, value=url)
        ti.xcom_push(key=LINK, value=url)


def pull(ti: Any, key: str) -> Any:
    """Read what this very task instance has pushed, in this try; None if it has not."""
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)


def pull_from(ti: Any, task_id: str, map_index: int, key: str) -> Any:
    """Read what another task instance of the DAG run has pushed; None if it has not.

    It may be from an earlier time: Airflow takes XComs away only when their task starts again.
    """
    return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)
