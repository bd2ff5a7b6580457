"""Which calls are the same: each call of a flow has a run of its own, in all of its attempts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner
from pydantic import SecretStr

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import atrigger_test_run, run_tests, trigger_test_run
from empirical_provider.trigger_key import TriggerKey

if TYPE_CHECKING:
    from conftest import Twin


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def test_the_same_call_twice_makes_two_runs_and_a_retry_takes_both_over(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A second release in a flow gets a run of its own, also in the attempt that repeats both."""
    state = twin.in_flow(call, call, failures=1, retries=1)

    assert len(set(_ids(empirical))) == 2
    assert [each["id"] for each in state.result()] == _ids(empirical)


def test_another_flow_run_starts_its_own_run(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """What one flow run has started is never taken over by another."""
    first, second = twin.in_flow(call), twin.in_flow(call)

    assert [first.result()[0]["id"], second.result()[0]["id"]] == _ids(empirical)


def test_calls_that_differ_only_in_a_secret_are_two(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """Prefect takes two masked secrets for the same; our key looks at what is in them."""
    calls = [
        {**call, "environment_variables_overrides": {"TENANT": SecretStr(tenant)}}
        for tenant in ("acme", "umbrella")
    ]
    state = twin.in_flow(*calls, failures=1, retries=1)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert [
        each.body["environment_variables_overrides"][0]["value"] for each in empirical.runs
    ] == ["acme", "umbrella"]


def test_submitted_calls_are_taken_over_too(call: dict[str, Any], empirical: Emulator) -> None:
    """In the task runner's threads the same rules hold: two calls, two runs, one retry, no more."""
    tries: list[list[int]] = []

    @flow(retries=1)
    def release() -> None:
        futures = [trigger_test_run.submit(**call) for _ in range(2)]
        tries.append(sorted(each.result()["id"] for each in futures))
        if len(tries) == 1:
            raise RuntimeError("the flow failed after its tasks")

    release()

    assert tries == [sorted(_ids(empirical))] * 2
    assert len(empirical.runs) == 2


@pytest.mark.parametrize("form", ["sync", "async", "function"])
def test_calls_inside_of_a_task_that_is_retried(
    form: str, call: dict[str, Any], empirical: Emulator
) -> None:
    """A task of the user's that makes two same calls, and fails after them, makes two runs.

    So it does by the function in our task, without a task run of ours.
    """
    trigger = trigger_test_run.fn if form == "function" else trigger_test_run
    tries: list[list[int]] = []

    def end(runs: list[Any]) -> None:
        tries.append([each["id"] for each in runs])
        if len(tries) == 1:
            raise RuntimeError("the task failed after its calls")

    @task(retries=1)
    def twice() -> None:
        end([trigger(**call) for _ in range(2)])

    @task(retries=1)
    async def atwice() -> None:
        end([await atrigger_test_run(**call) for _ in range(2)])

    @flow
    def release() -> None:
        twice()

    @flow
    async def arelease() -> None:
        await atwice()

    asyncio.run(arelease()) if form == "async" else release()

    assert tries == [_ids(empirical)] * 2
    assert len(empirical.runs) == 2


def test_the_same_call_in_two_tasks_makes_two_runs(
    call: dict[str, Any], empirical: Emulator
) -> None:
    """A task that stands for a release, called twice, gets a run each time, and keeps both."""
    tries: list[int] = []

    @task
    def gate() -> None:
        tries.append(trigger_test_run(**call)["id"])

    @flow(retries=1)
    def release() -> None:
        gate()
        gate()
        if len(tries) == 2:
            raise RuntimeError("the flow failed after its tasks")

    release()

    assert len(empirical.runs) == 2
    assert tries == _ids(empirical) * 2


@pytest.mark.parametrize("fails", ["the subflow", "the flow"])
def test_a_subflow_that_a_retry_of_its_flow_runs_again(
    fails: str, call: dict[str, Any], empirical: Emulator
) -> None:
    """Whichever flow failed, and with two such subflows, the flow's retry takes both runs over."""
    tries: list[int] = []

    @flow
    def innermost() -> None:
        tries.append(trigger_test_run(**call)["id"])
        if fails == "the subflow" and len(tries) == 2:
            raise RuntimeError("the subflow failed after its task")

    @flow
    def inner() -> None:
        innermost()

    @flow(retries=1)
    def release() -> None:
        inner()
        inner()
        if fails == "the flow" and len(tries) == 2:
            raise RuntimeError("the flow failed after its subflows")

    release()

    assert len(empirical.runs) == 2
    assert tries == _ids(empirical) * 2


@pytest.mark.slow  # processes have to start
def test_calls_from_other_processes(call: dict[str, Any], empirical: Emulator) -> None:
    """There calls cannot be counted: two same calls are two runs, and a retry of the flow is new.

    A retry of the task goes on with its own run: the one that ended in error is followed by one.
    """
    empirical.script("staging", "error", runs=1)
    tries: list[list[int]] = []

    @flow(retries=1, task_runner=ProcessPoolTaskRunner(max_workers=2))
    def release() -> None:
        task = run_tests.with_options(retries=1)
        futures = [task.submit(**call, poll_interval=0.05) for _ in range(2)]
        tries.append([each.result()["run_id"] for each in futures])
        if len(tries) == 1:
            raise RuntimeError("the flow failed after its tasks")

    release()

    ended = [each.id for each in empirical.runs if each.state == "ended"]
    assert sorted(each for ids in tries for each in ids) == ended
    assert (len(ended), len(empirical.runs)) == (4, 5)
    keys = [TriggerKey.parse(each.body["metadata"]["trigger_key"]) for each in empirical.runs]
    assert [each.n for each in keys if each].count(1) == 1
