"""Retries, of the task and of the flow around it: never a second run, never an old verdict."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from empirical_provider import (
    InvalidRequestError,
    RateLimitedError,
    TriggerOutcomeUnknownError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, atrigger_test_run, trigger_test_run

if TYPE_CHECKING:
    from conftest import Twin

pytestmark = pytest.mark.usefixtures("empirical")


@pytest.fixture
def call(credentials: EmpiricalCredentials) -> dict[str, Any]:
    """Return the arguments of a call."""
    return {"credentials": credentials, "environment": "staging"}


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def test_a_lost_answer_makes_no_second_run(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """The one run that was made stays the only one although the task may be retried twice."""
    empirical.fault("trigger", "drop", when="after")

    with pytest.raises(TriggerOutcomeUnknownError, match="It is not known whether a test run"):
        twin.with_options(retries=2)(**call)

    assert len(empirical.runs) == 1
    assert len([each for each in empirical.requests if each.endpoint == "trigger"]) == 1


def test_what_cannot_pass_is_not_retried(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A request that the service refuses is sent once, however many retries the task has."""
    with pytest.raises(InvalidRequestError):
        twin.with_options(retries=2)(**{**call, "environment": "stagign"})

    assert len([each for each in empirical.requests if each.endpoint == "trigger"]) == 1


def test_what_may_pass_is_retried(twin: Twin, call: dict[str, Any], empirical: Emulator) -> None:
    """The task's retries carry on where the client's have given up, and there is one run."""
    empirical.fault("trigger", "status", status=429, retry_after="120")

    with pytest.raises(RateLimitedError):
        twin(**call)
    empirical.fault("trigger", "status", status=429, retry_after="120")
    run = twin.with_options(retries=1)(**call)

    assert [run["id"]] == _ids(empirical)


def test_a_timeout_of_the_task_is_not_retried(call: dict[str, Any], empirical: Emulator) -> None:
    """Prefect's own time-out may hit after the run was started: it must not start another."""
    empirical.fault("trigger", "delay", when="after", delay=3)
    limited = atrigger_test_run.with_options(retries=2, timeout_seconds=1)

    with pytest.raises(TimeoutError):
        asyncio.run(limited(**call))

    assert len(empirical.runs) == 1


def test_a_retry_of_the_flow_takes_the_run_over(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A flow that fails twice after the trigger ends with the one run that it started."""
    state = twin.in_flow(call, failures=2, retries=2)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert len(empirical.runs) == 1


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
    """What is persisted is never taken over by another flow run."""
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


def test_a_saved_block_counts_like_the_block_itself(
    twin: Twin, call: dict[str, Any], empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """A block that every attempt loads afresh does not keep the retry from taking the run over."""
    credentials.save("retried", overwrite=True)
    tries: list[int] = []

    if twin.task.isasync:

        @flow(retries=1)
        async def release() -> Any:
            loaded = await EmpiricalCredentials.aload("retried")
            tries.append((await twin.task(**{**call, "credentials": loaded}))["id"])
            if len(tries) == 1:
                raise RuntimeError("the flow failed after its task")

        asyncio.run(release())
    else:

        @flow(retries=1)
        def release() -> Any:
            loaded = EmpiricalCredentials.load("retried")
            tries.append(twin.task(**{**call, "credentials": loaded})["id"])
            if len(tries) == 1:
                raise RuntimeError("the flow failed after its task")

        release()

    assert tries == _ids(empirical) * 2


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


@pytest.mark.parametrize("options", [{"persist_result": False}, {"cache_policy": NO_CACHE}])
def test_taking_over_can_be_turned_off(
    options: dict[str, Any], call: dict[str, Any], empirical: Emulator
) -> None:
    """Prefect's own options still rule: without a cache each attempt starts a run."""
    tries: list[int] = []
    fresh = trigger_test_run.with_options(**options)

    @flow(retries=1)
    def release() -> None:
        tries.append(fresh(**call)["id"])
        if len(tries) == 1:
            raise RuntimeError("the flow failed after its task")

    release()

    assert tries == _ids(empirical)
    assert len(tries) == 2


def test_a_result_that_cannot_be_written_does_not_fail_the_task(
    twin: Twin,
    call: dict[str, Any],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With its storage away the task still hands on the run that it started, and starts one."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    for name in ("write_path", "awrite_path"):
        monkeypatch.setattr(f"prefect.filesystems.LocalFileSystem.{name}", fail, raising=False)

    state = twin.with_options(retries=2).in_flow(call)

    assert "the disk is full" in caplog.text
    assert [each["id"] for each in state.result()] == _ids(empirical)


def test_an_error_survives_the_way_to_another_process(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """An error that a flow run raised can be pickled, as task runners and results do."""
    empirical.script("staging", "rejected")

    with pytest.raises(Exception, match="not started") as caught:
        twin(**call)

    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    assert again.run_id == empirical.runs[-1].id
