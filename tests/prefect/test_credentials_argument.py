"""What tasks and pre-built flows take for credentials: a block or a name, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.tasks import Task

from empirical_provider import InvalidRequestError
from empirical_provider.prefect import (
    EmpiricalCredentials,
    apreflight,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    emit_test_run_events,
    preflight,
    run_empirical_tests,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

PAIRS: dict[str, tuple[Task[..., Any], Task[..., Any], dict[str, Any]]] = {
    "trigger": (trigger_test_run, atrigger_test_run, {"environment": "staging"}),
    "wait": (wait_for_test_run, await_for_test_run, {"test_run_id": 456}),
    "run": (run_tests, arun_tests, {"environment": "staging"}),
    "preflight": (preflight, apreflight, {"environment": "staging"}),
}


@pytest.fixture(params=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Return which variant of a task is called."""
    return bool(request.param == "async")


@pytest.fixture(params=PAIRS)
def call(request: pytest.FixtureRequest, is_async: bool) -> Callable[[Any], Any]:
    """Return a way to call the function of each task with credentials."""
    *variants, arguments = PAIRS[request.param]

    def call(credentials: Any) -> Any:
        result = variants[is_async].fn(credentials=credentials, **arguments)
        return asyncio.run(result) if is_async else result

    return call


def _not_awaited() -> Any:
    return EmpiricalCredentials.aload("prod")


GOT: dict[str, tuple[Callable[[], Any], str]] = {
    "not awaited": (_not_awaited, "got a coroutine that was not awaited"),
    "None": (lambda: None, "got None"),
    "dict": (lambda: {"api_key": "emp-secret"}, "got dict"),
    "API key": (lambda: "Emp_secret", "got another str"),
    "name of none": (lambda: "emp-secret", "got the name of none"),
}


@pytest.mark.parametrize(("make", "words"), GOT.values(), ids=GOT)
def test_a_task_rejects_what_is_no_block_and_no_name(
    make: Callable[[], Any], words: str, call: Callable[[Any], Any], empirical: Emulator
) -> None:
    """The error names the field and the type that it got, shows no value, and nothing is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        call(make())

    assert "credentials must be an EmpiricalCredentials block or the name" in str(caught.value)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert empirical.requests == []


def test_an_async_flow_that_forgot_to_await_reads_how_to_load(empirical: Emulator) -> None:
    """In an async flow `load` returns a coroutine: the task says how to load there."""

    @flow
    async def release() -> Any:
        credentials: Any = EmpiricalCredentials.load("prod")
        return await arun_tests(credentials=credentials, environment="staging")

    with pytest.raises(InvalidRequestError, match=r"await EmpiricalCredentials\.aload\("):
        asyncio.run(release())
    assert empirical.requests == []


def test_a_flow_gives_the_name_of_the_block(
    is_async: bool, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """In a flow all tasks load the block that is saved under the name."""
    credentials.save("by-name", overwrite=True)
    given: dict[str, Any] = {"credentials": "by-name", "environment": "staging"}

    @flow
    def release() -> Any:
        preflight(**given)
        run = trigger_test_run(**given)
        wait_for_test_run(credentials="by-name", test_run_id=run["id"], poll_interval=0.01)
        return run_tests(**given, poll_interval=0.01)

    @flow
    async def arelease() -> Any:
        await apreflight(**given)
        run = await atrigger_test_run(**given)
        await await_for_test_run(credentials="by-name", test_run_id=run["id"], poll_interval=0.01)
        return await arun_tests(**given, poll_interval=0.01)

    verdict = asyncio.run(arelease()) if is_async else release()

    assert verdict["run_id"] == empirical.runs[-1].id
    assert [each.state for each in empirical.runs] == ["ended", "ended"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: run_empirical_tests(credentials="no-such", environment="staging"),
        lambda: asyncio.run(emit_test_run_events(credentials="no-such")),
    ],
    ids=["run_empirical_tests", "emit_test_run_events"],
)
def test_a_prebuilt_flow_rejects_an_unknown_name(
    call: Callable[[], Any], empirical: Emulator
) -> None:
    """The flows say the same as the tasks, and send nothing."""
    with pytest.raises(InvalidRequestError, match="got the name of none"):
        call()
    assert empirical.requests == []
