"""The tasks that wait: what they take, what they survive, and what they never do twice."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from empirical_provider import (
    AuthenticationError,
    GatePolicy,
    InvalidRequestError,
    TestsFailedError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    arun_tests,
    await_for_test_run,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

if TYPE_CHECKING:
    from conftest import Twin

FAST = {"poll_interval": 0.01}
"""The local Empirical moves a run each time it is read."""


def test_the_twins_have_the_same_parameters_and_options() -> None:
    """Waiting has the same names everywhere, and running takes what triggering and waiting do."""
    for one, twin in ((wait_for_test_run, await_for_test_run), (run_tests, arun_tests)):
        assert inspect.signature(one.fn) == inspect.signature(twin.fn)
        assert (one.name, one.description, one.cache_policy, one.retry_condition_fn) == (
            twin.name,
            twin.description,
            twin.cache_policy,
            twin.retry_condition_fn,
        )
        assert (one.isasync, twin.isasync) == (False, True)
        assert one.cache_policy == NO_CACHE
        assert one.persist_result is not True
    of_the_wait = [*inspect.signature(wait_for_test_run.fn).parameters]
    assert of_the_wait[:2] == ["credentials", "test_run_id"]
    assert [*inspect.signature(run_tests.fn).parameters] == [
        *inspect.signature(trigger_test_run.fn).parameters,
        *(name for name in of_the_wait[2:] if name != "policy"),
    ]


@pytest.mark.parametrize("run_id", [True, 0, -1, 4.0, "", " 4", "4 ", "04", "+4", "٤", "4_0", None])
def test_only_an_id_is_taken_for_one(
    run_id: Any, waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """What is not an id, but could be read as one with good will, is refused without a request."""
    with pytest.raises(InvalidRequestError, match="test_run_id must be"):
        waiting.without_prefect(credentials=credentials, test_run_id=run_id)

    assert empirical.requests == []


@pytest.mark.seconds
def test_waits_of_one_flow_share_their_looks(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    eventually: Callable[[Callable[[], Any]], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten waits of one flow ask for lists instead of for each run."""
    empirical.script("staging", "stuck")
    run_ids = [
        trigger_test_run.fn(credentials=credentials, environment="staging")["id"] for _ in range(10)
    ]

    def told() -> list[str]:
        return [message for message in caplog.messages if " is started after " in message]

    def asked(endpoint: str) -> int:
        return [each.endpoint for each in empirical.requests].count(endpoint)

    def shared() -> bool:
        lists, pages = asked("list_test_runs"), asked("get_test_run")
        eventually(lambda: asked("list_test_runs") > lists + 1)
        return asked("get_test_run") - pages < len(run_ids) / 2

    def end_once_shared() -> None:
        eventually(lambda: len(told()) == len(run_ids))
        eventually(shared)
        for run_id in run_ids:
            empirical.set_state(run_id, "ended")

    @flow
    async def gate() -> list[dict[str, Any]]:
        waits = (
            await_for_test_run(credentials=credentials, test_run_id=run_id, poll_interval=0.5)
            for run_id in run_ids
        )
        verdicts, _ = await asyncio.gather(
            asyncio.gather(*waits), asyncio.to_thread(end_once_shared)
        )
        return verdicts

    verdicts = asyncio.run(gate())

    assert [each["run_id"] for each in verdicts] == run_ids
    assert {each["outcome"] for each in verdicts} == {"passed"}
    assert all(f"{empirical.url}/acme/test-runs/" in message for message in told())


@pytest.mark.usefixtures("empirical")
def test_an_id_may_be_a_text_of_digits(waiting: Twin, credentials: EmpiricalCredentials) -> None:
    """The id as a flow's parameter or a template gives it is understood."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")

    assert waiting.without_prefect(credentials=credentials, test_run_id=str(run["id"]), **FAST)[
        "outcome"
    ] == ("passed")


@pytest.mark.parametrize(
    "bad",
    [
        {"policy": {"fialed": "pass"}},
        {"poll_interval": 0},
        {"timeout": float("inf")},
        {"start_timeout": -1},
        {"start_timeout": 0},
    ],
)
def test_a_bad_wait_starts_nothing(
    bad: dict[str, Any], running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """An argument of the wait is checked before the run is started, not after."""
    with pytest.raises(InvalidRequestError, match=next(iter(bad))):
        running.without_prefect(credentials=credentials, environment="staging", **bad)

    assert empirical.requests == []


def test_a_policy_may_be_an_object(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A `GatePolicy` says the same as a mapping of its fields."""
    empirical.script("staging", "flaky")

    with pytest.raises(TestsFailedError):
        running.without_prefect(
            credentials=credentials, environment="staging", policy=GatePolicy(max_flaky=0), **FAST
        )


def test_red_is_not_retried(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A red verdict burns no retries of the task: one run, one attempt."""
    empirical.script("staging", "failed")

    with pytest.raises(TestsFailedError):
        running.with_options(retries=2)(credentials=credentials, environment="staging", **FAST)

    assert len(empirical.runs) == 1
    looks = [each for each in empirical.requests if each.endpoint == "get_test_run"]
    assert len(looks) <= 4  # as many as one wait takes, with one for the page


def test_a_retry_of_a_wait_that_timed_out_waits_on(
    waiting: Twin, credentials: EmpiricalCredentials
) -> None:
    """A task that only waits is retried after a time-out, and gives the verdict of the same run."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    short = {"poll_interval": 10, "timeout": 0.05}  # two looks at most; the third sees the end

    verdict = waiting.with_options(retries=2)(
        credentials=credentials, test_run_id=run["id"], **short
    )

    assert (verdict["run_id"], verdict["outcome"]) == (run["id"], "passed")


def test_trouble_while_waiting_is_survived_and_told(
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An outage and broken JSON do not decide about the release; the task's log tells of each."""
    empirical.fault("get_test_run", "status", status=503, times=3)
    empirical.fault("get_test_run", "malformed", times=2)

    verdict = running(credentials=credentials, environment="staging", **FAST)

    assert verdict["outcome"] == "passed"
    ours = [each for each in caplog.records if each.name == "prefect.task_runs"]
    told = [each.getMessage() for each in ours]
    for word in ("503", "JSON", "can be read again", "is started after", "is ended after"):
        assert [word in each for each in told].count(True) == 1, f"{word} is not told once"
    assert "empirical_provider.wait" not in {each.name for each in caplog.records}


def test_an_error_never_cancels_the_run(
    waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A key that is refused while waiting ends the wait, and the run goes on."""
    empirical.script("staging", "stuck")
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    empirical.fault("get_test_run", "status", status=401, times=None)

    with pytest.raises(AuthenticationError):
        waiting.without_prefect(credentials=credentials, test_run_id=run["id"], **FAST)

    assert "cancel_test_run" not in [each.endpoint for each in empirical.requests]


@pytest.mark.slow  # a flow run takes seconds
def test_a_retry_of_the_flow_judges_the_run_of_its_first_attempt(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The second attempt waits for the run that was started, and starts none."""
    call = {"credentials": credentials, "environment": "staging", **FAST}

    state = running.in_flow(call, failures=1, retries=1, persist_result=True)

    (made,) = empirical.runs
    assert [each["run_id"] for each in state.result()] == [made.id]


@pytest.mark.slow  # a flow run takes seconds
def test_a_second_wait_for_a_run_looks_again(
    waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """In one flow with persisted results no wait takes an earlier one's verdict over."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    call = {"credentials": credentials, "test_run_id": run["id"], **FAST}

    waiting.in_flow(call, call, persist_result=True).result()

    looks = [each for each in empirical.requests if each.endpoint == "get_test_run"]
    assert len(looks) == 4  # queued, started, ended; and ended once more


@pytest.mark.slow  # a flow run takes seconds
def test_one_task_run_waits(
    waiting: Twin,
    credentials: EmpiricalCredentials,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """However many looks a wait takes, Prefect has one task run for it."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    state = waiting.in_flow({"credentials": credentials, "test_run_id": run["id"], **FAST})

    this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    (one,) = eventually(lambda: server.read_task_runs(flow_run_filter=this))
    assert one.name.startswith("wait-for-test-run")


@pytest.mark.slow  # a flow run takes seconds
def test_it_can_be_submitted(credentials: EmpiricalCredentials, empirical: Emulator) -> None:
    """In the task runner's threads two runs at a time are triggered, awaited and told apart."""
    empirical.script("staging", "failed")

    @flow
    def gated() -> list[Any]:
        futures = [
            run_tests.submit(credentials=credentials, environment=each, **FAST)
            for each in ("production", "staging")
        ]
        return [each.result(raise_on_failure=False) for each in futures]

    passed, failed = gated()

    assert passed["outcome"] == "passed"
    assert isinstance(failed, TestsFailedError)
    assert failed.run_id != passed["run_id"]


@pytest.mark.slow  # a flow run takes seconds
def test_a_submitted_gate_that_is_not_asked_for_fails_no_flow(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The documentation warns of it: Prefect completes the flow behind a closed gate."""
    empirical.script("staging", "failed")

    @flow
    def gated(*, asks: bool) -> None:
        future = run_tests.submit(credentials=credentials, environment="staging", **FAST)
        future.wait()
        if asks:
            future.result()

    assert gated(asks=False, return_state=True).is_completed()
    assert gated(asks=True, return_state=True).is_failed()
