"""Retries, of the task and of the flow around it: never a second run, never an old verdict."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow, task

from empirical_provider import (
    InvalidRequestError,
    RateLimitedError,
    TestsFailedError,
    TriggerOutcomeUnknownError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    atrigger_test_run,
    is_retryable,
    run_tests,
    trigger_test_run,
)

if TYPE_CHECKING:
    from conftest import Twin

pytestmark = pytest.mark.usefixtures("empirical")


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def _sends(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("trigger")


def test_a_lost_answer_outside_of_a_flow_makes_no_second_run(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """The one run that was made stays the only one although the task may be retried twice."""
    empirical.fault("trigger", "drop", when="after")

    with pytest.raises(TriggerOutcomeUnknownError, match="It is not known whether a test run"):
        twin.with_options(retries=2)(**call)

    assert len(empirical.runs) == 1
    assert _sends(empirical) == 1


@pytest.mark.seconds
@pytest.mark.usefixtures("echoes")
def test_a_lost_answer_is_made_good(twin: Twin, call: dict[str, Any], empirical: Emulator) -> None:
    """In a flow the run is found by its key: no retry is needed, and nobody notices."""
    empirical.fault("trigger", "drop", when="after")

    state = twin.in_flow(call)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert _sends(empirical) == 1


@pytest.mark.usefixtures("echoes")
def test_a_retry_finds_what_the_first_attempt_could_not_look_up(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """With answer and look-up lost, the task's retry looks again, and there is one run."""
    empirical.fault("trigger", "drop", when="after")
    empirical.fault("list_test_runs", "malformed", times=2)

    state = twin.with_options(retries=1).in_flow(call)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert _sends(empirical) == 1


def test_what_nobody_can_tell_is_never_guessed(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """Where the service does not show the key, no retry of task or flow starts a second run."""
    empirical.fault("trigger", "drop", when="after")
    call = {**call, "key_in_environment": False}

    state = twin.with_options(retries=1).in_flow(call, retries=1)

    with pytest.raises(TriggerOutcomeUnknownError, match=r"with the trigger key [0-9a-f]{22}-0-0-"):
        state.result()
    assert (len(empirical.runs), _sends(empirical)) == (1, 1)


@pytest.mark.parametrize("given", [{}, {"key_in_environment": True}], ids=str)
def test_the_key_travels_in_the_environment(
    given: dict[str, Any], call: dict[str, Any], empirical: Emulator
) -> None:
    """Lists show overrides: with them a lost answer is made good where metadata are not shown."""
    empirical.fault("trigger", "drop", when="after")
    tries: list[int] = []

    @flow
    def release() -> None:
        tries.append(trigger_test_run(**call, **given)["id"])

    release()

    assert tries == _ids(empirical)


def test_what_cannot_pass_is_not_retried(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A request that the service refuses is sent once, however many retries the task has."""
    with pytest.raises(InvalidRequestError):
        twin.with_options(retries=2)(**{**call, "environment": "stagign"})

    assert _sends(empirical) == 1


def test_what_may_pass_is_retried(twin: Twin, call: dict[str, Any], empirical: Emulator) -> None:
    """The task's retries carry on where the client's have given up, and there is one run."""
    empirical.fault("trigger", "status", status=429, retry_after="120")

    with pytest.raises(RateLimitedError):
        twin(**call)
    empirical.fault("trigger", "status", status=429, retry_after="120")
    run = twin.with_options(retries=1)(**call)

    assert [run["id"]] == _ids(empirical)


@pytest.mark.seconds
def test_a_task_of_the_users_can_have_the_same_rule(
    credentials: EmpiricalCredentials, call: dict[str, Any], empirical: Emulator
) -> None:
    """A task around ours, with the exported condition, is retried after errors that may pass."""
    attempts: list[str] = []

    @task(retries=2, retry_condition_fn=is_retryable)
    def look() -> int:
        attempts.append("look")
        with credentials.get_client(retry_for=0) as client:
            return len(client.list_environments())

    @task(retries=2, retry_condition_fn=is_retryable)
    def gate() -> None:
        attempts.append("gate")
        run_tests(**call, poll_interval=0.01)

    @flow
    def release() -> None:
        look()
        gate()

    empirical.fault("list_environments", "status", status=503, times=1)
    empirical.script("staging", "failed")
    with pytest.raises(TestsFailedError):
        release()

    assert attempts == ["look", "look", "gate"]


@pytest.mark.seconds
def test_a_timeout_of_the_task_is_not_retried(call: dict[str, Any], empirical: Emulator) -> None:
    """Prefect's own time-out may hit after the run was started: it must not start another."""
    empirical.fault("trigger", "delay", when="after", delay=60)
    limited = atrigger_test_run.with_options(retries=2, timeout_seconds=5)

    with pytest.raises(TimeoutError):
        asyncio.run(limited(**call))

    assert len(empirical.runs) == 1


@pytest.mark.seconds
@pytest.mark.parametrize("persist", [True, False])
def test_a_retry_of_the_flow_takes_the_run_over(
    persist: bool, twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """A flow that fails twice after the trigger ends with one run, its results persisted or not."""
    state = twin.in_flow(call, failures=2, retries=2, persist_result=persist)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert len(empirical.runs) == 1
    assert _sends(empirical) == 1


@pytest.mark.seconds
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
