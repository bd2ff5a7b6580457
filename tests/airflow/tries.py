"""The tries of one task, in process: each in a process of its own, as far as the task can tell."""

from __future__ import annotations

from typing import Any

from tests.airflow.standins import TaskInstance, gate, run

RETRIES = 2


def first_try() -> TaskInstance:
    return TaskInstance(max_tries=RETRIES)


def attempt(ti: TaskInstance, mode: dict[str, Any], **more: Any) -> Any:
    """Run one try of the task; what is not among its ``fields`` goes into the context."""
    fields = more.pop("fields", {})
    return run(gate(**{"retries": RETRIES, **mode, **fields}), ti, **more)


def waits(mode: dict[str, Any]) -> bool:
    return bool(mode.get("wait_for_completion", True))


def is_complete(ti: TaskInstance, run_id: int, mode: dict[str, Any], outcome: str) -> None:
    """Check that the XComs tell all of the run."""
    assert ti.xcoms["test_run_id"] == ti.xcoms["test_run"]["id"] == run_id
    assert f"/test-runs/{run_id}" in ti.xcoms["test_run_url"]
    assert ti.xcoms["_link_EmpiricalTestRunLink"] == ti.xcoms["test_run_url"]
    if waits(mode):
        assert (ti.xcoms["verdict"]["run_id"], ti.xcoms["verdict"]["outcome"]) == (run_id, outcome)
