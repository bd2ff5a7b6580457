"""Which calls are the same: each call of a flow has a run of its own, in all of its attempts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings
from prefect.task_runners import ProcessPoolTaskRunner
from pydantic import SecretStr

from empirical_provider import EmpiricalError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    atrigger_test_run,
    calls,
    run_tests,
    trigger_test_run,
)
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


def test_no_order_of_tags_makes_another_call(call: dict[str, Any], empirical: Emulator) -> None:
    """A set comes in another order in each process: it is the same request all the same."""
    orders = [["@a", "@b", "@c"], ["@c", "@a", "@b"]]
    overrides = [{"A": "1", "B": "2"}, {"B": "2", "A": "1"}]
    tries: list[int] = []

    @flow(retries=1)
    def release() -> None:
        given = {
            "tags": orders[len(tries)],
            "environment_variables_overrides": overrides[len(tries)],
        }
        tries.append(trigger_test_run(**call, **given)["id"])
        if len(tries) == 1:
            raise RuntimeError("the flow failed after its task")

    release()

    assert tries == _ids(empirical) * 2


ROTATED: list[list[dict[str, Any]]] = [
    [{}],
    [{"environment_variables_overrides": {"A": "1"}}],
    [{}, {}, {"tags": ["@a"]}],
    [{"key": "release 7"}],
]


@pytest.mark.parametrize("calls", ROTATED, ids=str)
def test_a_rotated_api_key_makes_no_other_call(calls: list[dict[str, Any]]) -> None:
    """A retry of the flow with the next API key goes on with the runs there are."""
    tries: list[list[int]] = []
    with Emulator() as empirical:  # accepts every key

        @flow(retries=1)
        def release() -> None:
            blocks = [
                EmpiricalCredentials(api_key=api_key, base_url=empirical.url)
                for api_key in ("the-api-key-of-today", "the-next-api-key-1")
            ]
            call = {"credentials": blocks[len(tries)], "environment": "staging"}
            tries.append([trigger_test_run(**call, **each)["id"] for each in calls])
            if len(tries) == 1:
                raise RuntimeError("the flow failed after its tasks")

        release()
        assert tries == [_ids(empirical)] * 2


def test_calls_that_only_secrets_tell_apart_are_not_guessed_after_a_rotation() -> None:
    """With another API key nothing tells whose run is whose; that is said, and nothing started."""
    tries: list[int] = []
    with Emulator() as empirical:  # accepts every key

        @flow(retries=1)
        def release() -> None:
            api_key = ["the-api-key-of-today", "the-next-api-key-1"][bool(tries)]
            block = EmpiricalCredentials(api_key=api_key, base_url=empirical.url)
            for tenant in ("acme", "umbrella"):
                overrides = {"TENANT": SecretStr(tenant)}
                tries.append(
                    trigger_test_run(
                        credentials=block,
                        environment="staging",
                        environment_variables_overrides=overrides,
                    )["id"]
                )
            raise RuntimeError("the flow failed after its tasks")

        with pytest.raises(EmpiricalError, match="The API key was rotated"):
            release()
        assert tries == _ids(empirical)


@pytest.mark.seconds
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


@pytest.mark.seconds
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


@pytest.mark.seconds
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


@dataclass
class Notes:
    """Something that is no plain data."""

    text: str


TOLD_APART = {
    "a": "b",
    1: 2,
    ("a", 1): ("a", 2),
    datetime(2000, 1, 1, tzinfo=UTC): datetime(2000, 1, 2, tzinfo=UTC),
    UUID(int=1): UUID(int=2),
    Path("a"): Path("b"),
    StateType.COMPLETED: StateType.FAILED,
}


@pytest.mark.seconds
@pytest.mark.parametrize("apart", [True, False])
def test_a_task_that_a_later_attempt_does_not_run_keeps_its_run_to_itself(
    apart: bool, call: dict[str, Any], empirical: Emulator
) -> None:
    """A retry that takes releases from Prefect's cache tests the others by runs of their own.

    They are told apart by plain data among their parameters; objects of one type are not.
    """
    tries: list[int] = []
    attempts: list[int] = []
    first: list[Any] = [*TOLD_APART, [{"to": "a"}]] if apart else [Notes("a")]
    others: list[Any] = [*TOLD_APART.values(), [{"to": "b"}]] if apart else [Notes("b")]

    @task
    def release(what: object) -> None:
        assert what
        tries.append(trigger_test_run(**call)["id"])

    @flow(retries=1, persist_result=True)
    def releases() -> None:
        attempts.append(1)
        for each in first:
            release(each)
        if len(attempts) == 1:
            raise RuntimeError("the flow failed between its tasks")
        for each in others:
            release(each)

    releases()

    assert len(tries) == len(first) + len(others)
    assert tries == (_ids(empirical) if apart else _ids(empirical) * 2)


@pytest.mark.seconds
def test_a_task_that_changes_its_parameters_has_one_run(
    call: dict[str, Any], empirical: Emulator
) -> None:
    """A task that adds to the list it was given goes on with its run when it is retried."""
    tries: list[int] = []

    @task(retries=1)
    def release(done: list[int]) -> None:
        done.append(trigger_test_run(**call)["id"])
        tries.extend(done[-1:])
        if len(tries) == 1:
            raise RuntimeError("the task failed after its call")

    @flow
    def releases() -> None:
        release([])

    releases()

    assert tries == _ids(empirical) * 2


@pytest.mark.seconds
@pytest.mark.parametrize("fails", ["the task", "the flow"])
def test_subflows_inside_of_a_task_that_is_run_again(
    fails: str, call: dict[str, Any], empirical: Emulator
) -> None:
    """Each of two same subflows has a run of its own, that a retry of what is around takes over."""
    tries: list[int] = []

    @flow
    def inner() -> None:
        tries.append(trigger_test_run(**call)["id"])

    def end(what: str) -> None:
        if fails == what and len(tries) == 2:
            raise RuntimeError(f"{what} failed after the subflows")

    @task(retries=1)
    def outer() -> None:
        inner()
        inner()
        end("the task")

    @flow(retries=1)
    def release() -> None:
        outer()
        end("the flow")

    release()

    assert len(empirical.runs) == 2
    assert tries == _ids(empirical) * 2


@pytest.mark.seconds
def test_a_subflow_in_a_task_that_a_later_attempt_does_not_run(
    call: dict[str, Any], empirical: Emulator
) -> None:
    """Subflows with other parameters are told apart, in a task that a retry finds in the cache."""
    tries: list[int] = []
    attempts: list[int] = []

    @flow
    def inner(service: str) -> None:
        assert service
        tries.append(trigger_test_run(**call)["id"])

    @task
    def outer(service: str) -> None:
        inner(service)

    @flow(retries=1, persist_result=True)
    def releases() -> None:
        attempts.append(1)
        outer("a")
        if len(attempts) == 1:
            raise RuntimeError("the flow failed between its tasks")
        outer("b")

    releases()

    if len(tries) == 1:
        pytest.skip("this Prefect takes the second subflow for the first one, and does not run it")
    assert len(tries) == 2
    assert tries == _ids(empirical)


@pytest.mark.seconds
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
def test_calls_from_other_processes(
    call: dict[str, Any], empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There calls cannot be counted: two same calls are two runs, and a retry of the flow is new.

    A retry of the task goes on with its own run: the one that ended in error is followed by one.
    """
    empirical.script("staging", "error", runs=1)
    tries: list[list[int]] = []

    call["credentials"].save("in-processes", overwrite=True)  # a block travels as its name
    # It is loaded before Prefect's settings have travelled: the environment leads to the server.
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))

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


def test_a_flow_run_that_has_ended_is_forgotten(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A process that runs flows for months holds those that are running, and the last one."""
    for failures in (0, 1, 0):
        twin.in_flow(call, call, failures=failures, retries=1)
        assert len(calls._calls) == 1
    assert len(empirical.runs) == 6


def test_an_outer_flow_keeps_nothing_of_its_subflows(
    call: dict[str, Any], empirical: Emulator
) -> None:
    """Nor does a flow that is still running hold what belongs to subflows that are over; its own
    calls it knows until it ends."""

    @flow
    def part() -> None:
        trigger_test_run(**call)

    @flow
    def whole() -> None:
        trigger_test_run(**call)
        for _ in range(3):
            part()
            assert len(calls._calls) <= 2
        trigger_test_run(**call)

    whole()
    assert len(set(_ids(empirical))) == 5
