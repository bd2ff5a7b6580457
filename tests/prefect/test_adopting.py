"""What a further attempt makes of the run of the one before, by the state that the run is in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow

from empirical_provider import TestsFailedError, WaitTimedOutError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob

if TYPE_CHECKING:
    from conftest import Twin


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def _count(empirical: Emulator, endpoint: str) -> int:
    return [each.endpoint for each in empirical.requests].count(endpoint)


@pytest.mark.seconds
@pytest.mark.parametrize("end", ["error", "cancelled"])
def test_a_run_without_a_verdict_is_followed_by_a_new_one(
    end: str, running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """A retry of the task starts another run, once, and its verdict is that of the new run."""
    empirical.script("staging", end, runs=1)

    state = running.with_options(retries=2).in_flow(gate)

    assert [each["run_id"] for each in state.result()] == _ids(empirical)[1:]
    assert len(empirical.runs) == 2


@pytest.mark.seconds
def test_a_retry_of_the_flow_replaces_a_cancelled_run(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A run that was cancelled between two attempts of a flow is not handed on again."""
    tries: list[int] = []

    def end(run: dict[str, Any]) -> None:
        tries.append(run["id"])
        if len(tries) == 1:
            empirical.set_state(run["id"], "cancelled")
            raise RuntimeError("the flow failed after its task")

    if twin.is_async:

        @flow(retries=1)
        async def release() -> None:
            end(await twin.task(**call))

        asyncio.run(release())
    else:

        @flow(retries=1)
        def release() -> None:
            end(twin.task(**call))

        release()

    assert tries == _ids(empirical)
    assert len(tries) == 2


def test_red_stays_red(running: Twin, gate: dict[str, Any], empirical: Emulator) -> None:
    """Retries of the task are not burned, and a retry of the flow is red at once, by the same run.

    The run is read only once more: there is nothing to wait for.
    """
    empirical.script("staging", "failed")

    state = running.with_options(retries=3).in_flow(gate, retries=1)

    with pytest.raises(TestsFailedError) as caught:
        state.result()
    assert [caught.value.run_id] == _ids(empirical)
    assert _count(empirical, "trigger") == 1
    assert _count(empirical, "get_test_run") <= 6  # three of the wait; then to adopt and to judge


@pytest.mark.seconds
@pytest.mark.parametrize("level", ["task", "flow"])
@pytest.mark.parametrize("mode", ["rerun_failed", "rerun_all"])
def test_red_can_be_re_run(
    mode: str, level: str, running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """A retry, of task or flow, re-runs what failed, and the verdict names the run it continues."""
    empirical.script("staging", "failed", runs=1)
    retried = running.with_options(retries=1) if level == "task" else running
    options = {"retries": 1} if level == "flow" else {}

    state = retried.in_flow({**gate, "on_retry_after_red": mode}, **options)

    (verdict,) = state.result()
    first, second = empirical.runs
    assert (verdict["outcome"], verdict["run_id"]) == ("passed", second.id)
    assert verdict["rerun_source_id"] == first.id
    (rerun,) = [each for each in empirical.requests if each.endpoint == "rerun_test_run"]
    assert bool((rerun.body or {}).get("only_failed")) == (mode == "rerun_failed")
    assert _count(empirical, "trigger") == 1


@pytest.mark.seconds
def test_what_the_policy_allows_is_not_re_run(
    running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """Red is what the policy of the gate calls so: flaky tests that it allows are taken over."""
    empirical.script("staging", "flaky")
    call = {**gate, "on_retry_after_red": "rerun_all", "policy": {"max_flaky": 5}}

    state = running.in_flow(call, failures=1, retries=1)

    assert [each["run_id"] for each in state.result()] == _ids(empirical)
    assert _count(empirical, "rerun_test_run") == 0


def test_after_a_time_out_a_retry_waits_on(
    running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """The run goes on when a wait is given up, and the retry waits for the same one."""
    empirical.script("staging", "stuck")

    state = running.with_options(retries=1).in_flow({**gate, "timeout": 0.05})

    with pytest.raises(WaitTimedOutError):
        state.result()
    assert len(empirical.runs) == 1
    assert len([each for each in empirical.requests if each.endpoint == "get_test_run"]) > 2


def test_without_flow_and_key_nothing_is_retried_that_could_start_a_second_run(
    running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """A task on its own has nothing to know its run by: it fails instead."""
    empirical.script("staging", "stuck")

    with pytest.raises(WaitTimedOutError):
        running.with_options(retries=1)(**gate, timeout=0.05)

    assert len(empirical.runs) == 1


@pytest.mark.seconds
def test_a_job_is_taken_over_too(credentials: EmpiricalCredentials, empirical: Emulator) -> None:
    """The block's run is kept over a retry of the flow, and re-run by the block's policy."""
    empirical.script("staging", "flaky", runs=1)
    job = EmpiricalTestJob(
        credentials=credentials,
        environment="staging",
        policy={"max_flaky": 0},
        poll_interval=0.01,
        on_retry_after_red="rerun_all",
    )

    @flow(retries=1)
    def release() -> dict[str, Any]:
        run = job.trigger()
        run.wait_for_completion()
        return run.fetch_result()

    verdict = release()

    assert [verdict["rerun_source_id"], verdict["run_id"]] == _ids(empirical)
