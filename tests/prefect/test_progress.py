"""The progress artifact: what it says while a wait runs, and that it holds nothing up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import prefect.artifacts
import pytest

from empirical_provider import TestRun, TestRunState
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run
from empirical_provider.prefect.report import progress
from empirical_provider.prefect.showing import Progress

if TYPE_CHECKING:
    from conftest import Twin

FAST = {"poll_interval": 0.01}
"""The local Empirical moves a run each time it is read."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Return what is done to progress artifacts, which is done all the same."""
    calls: list[tuple[str, float]] = []

    def spy(name: str) -> None:
        real = getattr(prefect.artifacts, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((name.removeprefix("a").partition("_")[0], kwargs["progress"]))
            return real(*args, **kwargs)

        monkeypatch.setattr(prefect.artifacts, name, call)

    for name in ("create", "update", "acreate", "aupdate"):
        spy(f"{name}_progress_artifact")
    return calls


def test_the_progress_follows_the_states(
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    artifacts: Callable[..., list[Any]],
    shown: list[tuple[str, float]],
) -> None:
    """One artifact goes from 0 to 50 to 100, once per state, and says what that means and where."""
    empirical.script("staging", "failed")
    call = {"credentials": credentials, "environment": "staging", **FAST}

    state = running.state(**call, policy={"failed": "pass"})

    verdict = state.result()
    (artifact,) = artifacts(state, "empirical-progress")
    assert artifact.data == 100
    assert artifact.description == (
        f"[Empirical test run {verdict['run_id']}]({verdict['url']}) in staging is ended. How many "
        "of its tests are done is not known: 0 % is waiting to start, 50 % running, 100 % over, "
        "whatever became of it."
    )
    assert shown == [("create", 0), ("update", 50), ("update", 100)]


def test_the_progress_of_a_run_that_goes_on(
    waiting: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    artifacts: Callable[..., list[Any]],
    shown: list[tuple[str, float]],
) -> None:
    """Looks that see nothing new change nothing, and a wait that is given up is not over."""
    empirical.script("staging", "stuck")
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    call = {"credentials": credentials, "test_run_id": run["id"], "timeout": 3.0, **FAST}

    state = waiting.state(**call, policy={"timed_out": "pass"})

    (artifact,) = artifacts(state, "empirical-progress")
    assert artifact.data == 50
    assert "is started" in artifact.description
    assert shown == [("create", 0), ("update", 50)]
    looks = [each for each in empirical.requests if each.endpoint == "get_test_run"]
    assert len(looks) > 3


def test_progress_that_could_not_be_shown_is_shown_at_the_next_state(
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    artifacts: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that is away for a moment costs a step of the progress, not the rest of it."""
    name = "acreate_progress_artifact" if running.is_async else "create_progress_artifact"
    real, failures = getattr(prefect.artifacts, name), iter([RuntimeError("away")])

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        for failure in failures:
            raise failure
        return real(*args, **kwargs)

    monkeypatch.setattr(prefect.artifacts, name, fail_once)
    empirical.script("staging", "passed")

    state = running.state(credentials=credentials, environment="staging", **FAST)

    (artifact,) = artifacts(state, "empirical-progress")
    assert artifact.data == 100


@pytest.mark.parametrize(
    ("state", "percent"),
    [
        ("pending", 0),
        ("queued", 0),
        ("started", 50),
        ("cancelling", 50),
        ("ended", 100),
        ("error", 100),
        ("cancelled", 100),
        ("hibernating", 50),
    ],
)
def test_what_a_percentage_means(state: str, percent: float) -> None:
    """Only a final state is the whole, a state that nobody knows moves nothing, text is escaped."""
    run = TestRun(id=4, state=TestRunState(state), url="http://x/(4)", environment="[a](b)")
    before = 50.0 if state == "hibernating" else 0.0

    shown, told = progress(run, before)

    assert shown == percent
    start = "[Empirical test run 4](http://x/%284%29) in \\[a\\]\\(b\\) is "
    assert told.startswith(f"{start}{state}. How many")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_showing_takes_none_of_the_pause(
    is_async: bool, credentials: EmpiricalCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause ends when it should however long Prefect takes, so that deadlines hold."""
    now, slept = [100.0], []

    def show(_self: Progress) -> None:
        now[0] += 4.0

    async def ashow(_self: Progress) -> None:
        now[0] += 4.0

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(Progress, "show", show)
    monkeypatch.setattr(Progress, "ashow", ashow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    progress_of_a_wait = Progress(credentials)

    for seconds in (10.0, 3.0):
        if is_async:
            _drive(progress_of_a_wait.apause(seconds, sleep=sleep))
        else:
            progress_of_a_wait.pause(seconds)

    assert slept == [6.0, 0.0]


def _drive(coroutine: Any) -> None:
    """Run a coroutine that waits for nothing: an event loop needs the clock that stands still."""
    with pytest.raises(StopIteration):
        coroutine.send(None)
