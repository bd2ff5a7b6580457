"""The commit that a flow expects: by each task and block, and in the example."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from empirical_provider import InvalidRequestError, WrongCommitError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    arun_tests,
    await_for_test_run,
    run_empirical_tests,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

EXAMPLE = Path(__file__).parents[2] / "flows_examples" / "tested_commit.py"
RELEASED = "3f786850e387550fdab836ed7e6dc881de23001b"
OTHER = "89e6c98d92887913cadf06b2adb97f26cde4849b"
FAST: dict[str, Any] = {"poll_interval": 0.02}


def settled(given: Any) -> Any:
    """Return what a task has returned, or would return when it is awaited."""
    return asyncio.run(given) if asyncio.iscoroutine(given) else given


@pytest.mark.parametrize("task", [run_tests, arun_tests], ids=["sync", "async"])
def test_the_gate_expects_the_commit_of_its_build(
    task: Any, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """By itself the task fails where another commit than that of its build was tested, and is not
    retried; who names another one, or none, gets what was asked for."""
    empirical.script("staging", "passed", commit=OTHER)
    call = {"credentials": credentials, "environment": "staging", "build": {"commit": RELEASED}}

    with pytest.raises(WrongCommitError, match=f"{OTHER}, and not {RELEASED}") as caught:
        settled(task.fn(**call, **FAST))

    assert not caught.value.may_pass
    for expected in (OTHER[:8], False):
        verdict = settled(task.fn(**call, **FAST, expect_commit=expected))
        assert (verdict["outcome"], verdict["commit"]) == ("passed", OTHER)


@pytest.mark.parametrize("task", [wait_for_test_run, await_for_test_run], ids=["sync", "async"])
def test_a_wait_expects_what_it_is_told(
    task: Any, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The wait passes for the commit that was released, and not for a run of another one."""
    empirical.script("staging", "passed", commit=OTHER)
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    call = {"credentials": credentials, "test_run_id": run["id"], **FAST}

    assert settled(task.fn(**call, expect_commit=OTHER))["outcome"] == "passed"
    with pytest.raises(WrongCommitError):
        settled(task.fn(**call, expect_commit=RELEASED))
    with pytest.raises(InvalidRequestError, match="expect_commit must be a non-empty string"):
        settled(task.fn(**call, expect_commit=""))


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "fetched"])
def test_a_job_expects_the_commit_of_its_build(
    waits: bool, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The handle that a job gives goes by the build that it was triggered with."""
    empirical.script("staging", "passed", commit=OTHER)
    job = EmpiricalTestJob(credentials=credentials, environment="staging", **FAST)

    run = job.trigger(build={"commit": RELEASED})
    if waits:
        with pytest.raises(WrongCommitError):
            run.wait_for_completion()
    else:
        empirical.set_state(run.run_id, "ended")
    assert run.fetch_result()["outcome"] == "wrong_commit"
    other = job.trigger()
    other.wait_for_completion()
    assert other.fetch_result()["outcome"] == "passed"


def test_a_job_with_a_short_hash_starts_nothing(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The commit of the build is checked before a run is started."""
    job = EmpiricalTestJob(credentials=credentials, environment="staging", **FAST)
    for start in (job.trigger, lambda **changes: settled(job.atrigger(**changes))):
        with pytest.raises(InvalidRequestError, match="at least 7 characters"):
            start(build={"commit": "abc123"})
    assert empirical.runs == []


def test_the_ready_flow_expects_the_commit_of_its_build(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The flow run fails, and its state names both commits."""
    credentials.save("prod", overwrite=True)
    empirical.script("staging", "passed", commit=OTHER)
    state = run_empirical_tests(
        credentials="prod",
        environment="staging",
        build={"commit": RELEASED},
        **FAST,
        return_state=True,
    )
    assert state.name == "Failed"
    assert f"{OTHER}, and not {RELEASED}" in state.message


@pytest.mark.seconds
def test_the_example_releases_only_what_was_tested(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The example releases the commit that the run has tested, and stops before another one."""
    credentials.save("prod", overwrite=True)
    empirical.script("staging", "passed")
    flow: Callable[..., Any] = runpy.run_path(str(EXAMPLE))["release_tested_commit"]
    call = {"credentials": credentials, "environment": "staging", "build": {"commit": RELEASED}}
    run_id = trigger_test_run.fn(**call)["id"]

    assert flow(run_id, RELEASED, poll_interval=0.05) == f"Live: {RELEASED}"
    with pytest.raises(WrongCommitError):
        flow(run_id, OTHER, poll_interval=0.05)
