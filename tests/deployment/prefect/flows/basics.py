"""The flows of a user who triggers, and of one who waits: by a task and by a saved job."""

from __future__ import annotations

from typing import Any

from prefect import flow

from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    EmpiricalTestJobRun,
    run_tests,
    trigger_test_run,
)


@flow(name="triggering", persist_result=True, result_serializer="json")
def triggering(credentials: str, environment: str) -> dict[str, Any]:
    """Start a run, and go on."""
    block: Any = EmpiricalCredentials.load(credentials)
    return trigger_test_run(credentials=block, environment=environment)


@flow(name="gate-by-task", persist_result=True, result_serializer="json")
def gate_by_task(credentials: str, environment: str, poll_interval: float) -> dict[str, Any]:
    """Start a run, and go on if it is green."""
    block: Any = EmpiricalCredentials.load(credentials)
    return run_tests(credentials=block, environment=environment, poll_interval=poll_interval)


@flow(name="gate-by-block", persist_result=True, result_serializer="json")
def gate_by_block(job: str) -> dict[str, Any]:
    """Start what a saved job says, and go on if it is green."""
    block: Any = EmpiricalTestJob.load(job)
    run: EmpiricalTestJobRun = block.trigger()
    run.wait_for_completion()
    return run.fetch_result()
