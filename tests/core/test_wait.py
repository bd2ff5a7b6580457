"""Waiting for a run, by either client, without taking time."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    AuthenticationError,
    EmpiricalError,
    GatePolicy,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    Outcome,
    RateLimitedError,
    ServerError,
    TestRun,
    TestRunRequest,
    TestRunState,
    UnreadableAnswerError,
    await_for_test_run,
)
from empirical_provider.wait import Wait
from empirical_provider.wait_options import WaitOptions

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging")


def test_the_first_look_is_at_once(empirical: Emulator, ask: Twin) -> None:
    """A run that has finished is judged without any waiting."""
    run = ask("trigger", STAGING)
    empirical.set_state(run.id, "ended")
    assert ask.wait_for_test_run(run.id).outcome == Outcome.PASSED
    assert ask.slept == []


def test_it_polls_until_the_run_has_finished(empirical: Emulator, ask: Twin) -> None:
    """Each state is told once, pauses are ten seconds give or take a tenth, and a verdict comes."""
    empirical.script("staging", "failed", total=9, failed=2)
    states: list[str] = []
    verdict = ask.wait_for_test_run(
        ask.trigger_test_run(STAGING).id, on_progress=lambda run: states.append(str(run.state))
    )
    assert states == ["queued", "started", "ended"]
    assert all(9 <= pause <= 11 for pause in ask.slept)
    assert len(ask.slept) == 2
    assert verdict.outcome == Outcome.FAILED
    assert (verdict.counts.total, verdict.counts.failed_after_snoozing) == (9, 2)
    assert verdict.failed_tests_total == len(verdict.failed_tests) == 2
    assert verdict.elapsed_seconds == pytest.approx(sum(ask.slept), abs=0.1)


@pytest.mark.parametrize(
    ("scripted", "outcome"),
    [
        ("passed", "passed"),
        ("snoozed", "passed"),
        ("flaky", "passed"),
        ("failed", "failed"),
        ("error", "error"),
        ("cancelled", "cancelled"),
        ("superseded", "superseded"),
        ("no_tests", "no_tests"),
        ("incomplete", "incomplete"),
        ("stuck", "timed_out"),
        ("pending", "timed_out"),
    ],
)
def test_every_end_has_its_outcome(
    scripted: str, outcome: str, empirical: Emulator, ask: Twin
) -> None:
    """Whatever way a run goes, the wait ends with the outcome that belongs to it."""
    empirical.script("staging", scripted)
    verdict = ask.wait_for_test_run(ask("trigger", STAGING).id, timeout=60)
    assert verdict.outcome == outcome


def test_trouble_is_survived_and_told_once(
    empirical: Emulator, ask: Twin, caplog: pytest.LogCaptureFixture
) -> None:
    """Failed looks do not end the wait; the log tells when the trouble changes, not each time."""
    caplog.set_level(logging.INFO, "empirical_provider.wait")
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "status", status=503, times=3)
    empirical.fault("get_test_run", "drop", times=2)
    for effect in ("malformed", "truncated", "html", "huge"):
        empirical.fault("get_test_run", effect)
    assert ask.wait_for_test_run(run.id).outcome == Outcome.PASSED
    ours = (each for each in caplog.records if each.name == "empirical_provider.wait")
    told = [record.message for record in ours if record.levelname == "WARNING"]
    assert [next(w for w in ("503", "no answer", "JSON", "10 MB") if w in t) for t in told] == [
        "503",
        "no answer",
        "JSON",
        "no answer",
        "JSON",
        "10 MB",
    ]
    assert "can be read again" in caplog.text


def test_a_host_may_have_the_wait_told_in_its_own_log(
    empirical: Emulator, ask: Twin, caplog: pytest.LogCaptureFixture
) -> None:
    """States, trouble and its end reach the log that is given, an adapter too, and no other."""
    caplog.set_level(logging.INFO)
    adapter = logging.LoggerAdapter(logging.getLogger("host.task"), {"attempt": 2})
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "status", status=503, times=2)
    ask.wait_for_test_run(run.id, log=adapter)
    assert not [each for each in caplog.records if each.name == "empirical_provider.wait"]
    ours = [each for each in caplog.records if each.name == "host.task"]
    assert [each.attempt for each in ours] == [2] * len(ours)
    told = [each.message for each in ours]
    words = ("Waiting on", "can be read again", "is queued", "is started", "is ended")
    assert [next(word for word in words if word in each) for each in told] == [*words]


def test_a_rate_limit_lengthens_the_pause(empirical: Emulator, ask: Twin) -> None:
    """The service's own wait is honoured when it is longer than the interval."""
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "status", status=429, retry_after="45")
    ask.wait_for_test_run(run.id)
    assert ask.slept[0] == 45


REFUSALS = [
    ({"effect": "status", "status": 401}, AuthenticationError),
    ({"effect": "status", "status": 403}, AuthenticationError),
    ({"effect": "status", "status": 404}, NotFoundError),
    ({"effect": "redirect", "message": "https://elsewhere.example"}, UnreadableAnswerError),
]


@pytest.mark.parametrize("elapsed", [0.0, 3600.0])
@pytest.mark.parametrize(("refusal", "error"), REFUSALS)
def test_a_refusal_of_the_page_has_a_minute(
    refusal: dict[str, Any],
    error: type[EmpiricalError],
    elapsed: float,
    empirical: Emulator,
    ask: Twin,
) -> None:
    """One refusal is a failed look; the same one for a minute, seen by this wait, is the end."""
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", times=5, **refusal)
    assert ask.wait_for_test_run(run.id, elapsed=elapsed).outcome == Outcome.PASSED
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", times=None, **refusal)
    ask.slept.clear()
    with pytest.raises(error) as caught:
        ask.wait_for_test_run(run.id, elapsed=elapsed)
    assert caught.value.run_id == run.id
    assert 60 <= sum(ask.slept) <= 72


@pytest.mark.parametrize("others", [[403], [500], [404], [404, 500]])
def test_only_the_same_refusal_ends_the_wait(
    others: list[int], empirical: Emulator, ask: Twin
) -> None:
    """What is refused now so, now otherwise, is looked at until the deadline."""
    empirical.script("staging", "stuck")
    run = ask("trigger", STAGING)
    for _ in range(30):
        empirical.fault("get_test_run", "status", status=401, times=5)
        for status in others:
            empirical.fault("get_test_run", "status", status=status)
    assert ask.wait_for_test_run(run.id, timeout=600).outcome == Outcome.TIMED_OUT


@pytest.mark.parametrize("refusal", [each for each, _ in REFUSALS])
def test_a_wait_that_remembers_nothing_goes_on_until_its_own_deadline(
    refusal: dict[str, Any], empirical: Emulator, ask: Twin
) -> None:
    """A host that takes one look at a time, and sleeps elsewhere, sees every refusal first."""

    class RescheduledError(Exception):
        pass

    def reschedule(seconds: float) -> None:
        raise RescheduledError(seconds)

    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", times=None, **refusal)
    for elapsed in range(0, 300, 10):
        with pytest.raises(RescheduledError):
            ask.wait_for_test_run(run.id, sleep=reschedule, elapsed=elapsed, timeout=300)
    last = ask.wait_for_test_run(run.id, sleep=reschedule, elapsed=300, timeout=300)
    assert last.outcome == Outcome.TIMED_OUT


@pytest.mark.parametrize("trouble", [[*5 * [404]], [*5 * [404], 500, *5 * [404]]])
def test_a_run_that_is_missing_for_a_moment_is_waited_for(
    trouble: list[int], empirical: Emulator, ask: Twin
) -> None:
    """Late in a wait, too, only a minute of nothing but 404 ends it."""
    empirical.script("staging", "stuck")
    run = ask("trigger", STAGING)
    pauses = len(ask.slept)

    def sleep(seconds: float) -> None:
        ask.slept.append(seconds)
        looks = len(ask.slept) - pauses
        if looks in {15, 30}:
            for status in trouble:
                empirical.fault("get_test_run", "status", status=status)
        if looks == 45:
            empirical.set_state(run.id, "ended")

    async def asleep(seconds: float) -> None:
        sleep(seconds)

    verdict = ask.wait_for_test_run(run.id, sleep=sleep if ask.kind == "sync" else asleep)

    assert verdict.outcome == Outcome.PASSED


def test_there_is_a_last_look_at_the_deadline(empirical: Emulator, ask: Twin) -> None:
    """The last pause ends at the deadline, and a run that finished meanwhile counts."""
    empirical.script("staging", "stuck")
    run = ask("trigger", STAGING)

    def finish_late(seen: TestRun) -> None:
        if seen.state == TestRunState.STARTED:
            empirical.set_state(run.id, "ended")

    verdict = ask.wait_for_test_run(run.id, timeout=15, on_progress=finish_late)
    assert sum(ask.slept) == pytest.approx(15)
    assert verdict.outcome == Outcome.PASSED


def test_the_two_clocks_have_their_own_words(empirical: Emulator, ask: Twin) -> None:
    """A run that does not start and one that does not end are told apart."""
    empirical.script("staging", "pending", runs=1)
    late = ask.wait_for_test_run(ask("trigger", STAGING).id, start_timeout=30)
    assert late.outcome == Outcome.TIMED_OUT
    assert "it is pending after 30 s, and it should have started in 30 s." in late.summary
    ask.slept.clear()
    empirical.script("staging", "stuck", runs=1)
    slow = ask.wait_for_test_run(ask("trigger", STAGING).id, start_timeout=30, timeout=90)
    assert "it is started after 90 s, and the time-out is 90 s." in slow.summary


def test_a_run_that_was_never_read_is_not_known(empirical: Emulator, ask: Twin) -> None:
    """When no look succeeded, the verdict says so, and with which error."""
    ask.settings["project_slug"] = "acme"
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "status", status=500, times=None)
    verdict = ask.wait_for_test_run(run.id, timeout=25)
    assert verdict.outcome == Outcome.TIMED_OUT
    assert "it could not be read after 25 s (the last look failed: Could not" in verdict.summary
    assert verdict.url == f"{empirical.url}/acme/test-runs/{run.id}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"poll_interval": 0}, "poll_interval must be a number above 0"),
        ({"timeout": -1}, "timeout must be a number above 0"),
        ({"timeout": None}, "timeout must be a number above 0, not None"),
        ({"start_timeout": "soon"}, "start_timeout must be a number above 0, not str"),
        ({"start_timeout": 0}, "start_timeout must be a number above 0, not 0"),
        ({"start_timeout": False}, "start_timeout must be a number above 0, not bool"),
        ({"policy": {"passed": "maybe"}}, "policy.passed"),
    ],
)
def test_a_bad_argument_is_refused_before_the_first_look(
    given: dict[str, Any], message: str, empirical: Emulator, ask: Twin
) -> None:
    """What cannot be waited by is refused by name, and nothing is asked."""
    with pytest.raises(InvalidRequestError, match=message):
        ask.wait_for_test_run(456, **given)
    with pytest.raises(InvalidRequestError, match=message):
        WaitOptions(**given)
    assert empirical.requests == []


def test_options_are_what_the_wait_takes(empirical: Emulator, ask: Twin) -> None:
    """A host checks its options once, hands them on, and they are complete and normal."""
    empirical.script("staging", "pending")
    options = WaitOptions(policy={"min_tests": 3}, start_timeout=30).as_arguments()
    assert options == {
        "policy": GatePolicy(min_tests=3),
        "poll_interval": 10.0,
        "timeout": 7200.0,
        "start_timeout": 30.0,
        "expect_commit": None,
    }
    verdict = ask.wait_for_test_run(ask("trigger", STAGING).id, **options)
    assert "it should have started in 30 s." in verdict.summary


def test_checking_options_loads_neither_the_http_client_nor_the_models() -> None:
    """A host can check them in every process that only reads a user's file."""
    code = (
        "import sys; from empirical_provider.wait_options import WaitOptions; WaitOptions();"
        "sys.exit(not sys.modules.keys().isdisjoint({'httpx', 'empirical_provider.models'}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_a_wait_that_goes_on_counts_what_was_waited_before() -> None:
    """A wait that is taken up again elsewhere has the time that is left, not all of it."""
    wait = Wait(
        TestRun(id=1, state=TestRunState.STARTED),
        WaitOptions(timeout=100),
        on_progress=None,
        elapsed=95,
        clock=lambda: 0.0,
    )
    wait.missed(ServerError("x", status=500))
    assert wait.pause() == pytest.approx(5)


def test_both_clocks_count_what_was_waited_elsewhere(empirical: Emulator, ask: Twin) -> None:
    """A host that takes a wait up again gives the time that is gone, and the message counts it."""
    empirical.script("staging", "stuck")
    run = ask("trigger", STAGING)
    verdict = ask.wait_for_test_run(run.id, timeout=100, elapsed=95)
    assert sum(ask.slept) == pytest.approx(5)
    assert verdict.elapsed_seconds == 100
    assert "after 100 s, and the time-out is 100 s." in verdict.summary


def test_a_host_may_do_something_else_than_sleep(empirical: Emulator, ask: Twin) -> None:
    """The pause is handed to the host, and what the host raises there ends the wait."""
    paused: list[float] = []

    class InsteadError(Exception):
        pass

    def instead(seconds: float) -> None:
        paused.append(seconds)
        raise InsteadError

    run = ask("trigger", STAGING)
    with pytest.raises(InsteadError):
        ask.wait_for_test_run(run.id, sleep=instead)
    assert 9 <= paused[0] <= 11
    assert len(paused) == 1
    assert ask.slept == []
    empirical.set_state(run.id, "ended")
    assert ask.wait_for_test_run(run.id, sleep=instead).outcome == Outcome.PASSED


FAILED_POLLS = [
    {"effect": "status", "status": 500},
    {"effect": "status", "status": 429, "retry_after": "60"},
    {"effect": "status", "status": 401},
    {"effect": "status", "status": 404},
    {"effect": "redirect", "message": "https://elsewhere.example"},
    {"effect": "drop"},
    {"effect": "html"},
]


@pytest.mark.parametrize("fault", FAILED_POLLS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_failed_poll_does_not_end_a_wait_as_not_started(
    fault: dict[str, Any], times: int, empirical: Emulator, ask: Twin
) -> None:
    """Only a poll that saw pending or queued does: after a restart the run may long have begun."""
    run = ask("trigger", STAGING)
    empirical.set_state(run.id, "started")
    empirical.fault("get_test_run", times=times, **fault)
    verdict = ask.wait_for_test_run(run.id, start_timeout=30, elapsed=100)
    assert verdict.outcome == Outcome.PASSED


def test_a_run_that_has_not_started_ends_the_wait_once_that_is_seen(
    empirical: Emulator, ask: Twin
) -> None:
    """After looks that failed, the next one that sees the run queued ends the wait."""
    empirical.script("staging", "pending")
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "status", status=500, times=3)
    verdict = ask.wait_for_test_run(run.id, start_timeout=30, elapsed=100)
    assert "and it should have started in 30 s." in verdict.summary
    assert 27 <= sum(ask.slept) <= 33


@pytest.mark.parametrize(("timeout", "slept"), [(7200.0, 60.0), (95.0, 20.0)])
def test_a_day_of_rest_is_not_given(
    timeout: float, slept: float, empirical: Emulator, ask: Twin
) -> None:
    """``Retry-After`` is obeyed for a minute at most, and never past the deadline."""
    run = ask("trigger", STAGING)
    empirical.set_state(run.id, "ended")
    empirical.fault("get_test_run", "status", status=429, retry_after="86400")
    assert ask.wait_for_test_run(run.id, timeout=timeout, elapsed=75).outcome == Outcome.PASSED
    assert ask.slept == [pytest.approx(slept)]


class Clock:
    """A clock for a `Wait` on its own."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.wait = Wait(
            TestRun(id=7, state=TestRunState("unknown")),
            WaitOptions(**options),
            on_progress=None,
            clock=lambda: self.now,
        )

    def misses(self, error: EmpiricalError) -> bool:
        """Let a look fail, and pause; return whether there is a verdict."""
        self.wait.missed(error)
        self.now += self.wait.pause()
        return self.wait.verdict is not None


def unreadable(state: str, **counts: int) -> UnreadableAnswerError:
    error = UnreadableAnswerError("It ended, but this cannot be.")
    vars(error)["run"] = TestRun(id=7, state=TestRunState(state), **counts)
    return error


CONTRADICTIONS = [
    unreadable("ended", total_count=5, failed_count=-1),
    unreadable("ended", total_count=1, success_count=5, failed_count=0),
    unreadable("ended"),
    unreadable("error"),
    unreadable("cancelled"),
]


@pytest.mark.parametrize("error", CONTRADICTIONS)
def test_a_finished_run_that_makes_no_sense_has_a_minute(error: UnreadableAnswerError) -> None:
    """Then the wait ends with what was read, closed, and does not wait for the deadline."""
    clock = Clock()
    while not clock.misses(error):
        assert clock.now < 75
    assert clock.now >= 60
    assert clock.wait.verdict is not None
    assert clock.wait.verdict.decision == "fail"
    assert clock.wait.verdict.outcome != Outcome.TIMED_OUT


def test_a_deadline_within_that_minute_ends_it_with_what_was_read() -> None:
    """Also where the policy opens the gate after a time-out."""
    clock = Clock(timeout=30, policy={"timed_out": "pass"})
    while not clock.misses(CONTRADICTIONS[0]):
        assert clock.now <= 30
    assert clock.wait.verdict is not None
    assert clock.wait.verdict.decision == "fail"


def test_a_response_that_made_no_sense_never_passes() -> None:
    """Not even where what was read of it would."""
    fine = unreadable("ended", total_count=1, success_count=1, failed_count=0)
    clock = Clock(timeout=90)
    while not clock.misses(fine):
        pass
    assert clock.now == pytest.approx(90)
    assert clock.wait.verdict is not None
    assert clock.wait.verdict.outcome == Outcome.TIMED_OUT


def test_a_response_that_makes_sense_in_time_counts() -> None:
    """What has made no sense for a moment is forgotten."""
    clock = Clock()
    for _ in range(5):
        assert not clock.misses(CONTRADICTIONS[0])
    clock.wait.saw(TestRun(id=7, state=TestRunState.ENDED, total_count=1, failed_count=0))
    assert clock.wait.verdict is not None
    assert clock.wait.verdict.outcome == Outcome.PASSED


LIST_FAILS = [
    AuthenticationError("401", status=401),
    AuthenticationError("403", status=403),
    NotFoundError("404", status=404),
    UnreadableAnswerError("302", status=302),
    UnreadableAnswerError("no JSON", status=200),
    ServerError("500", status=500),
    RateLimitedError("429", status=429, retry_after=86400.0),
    NoAnswerError("lost"),
]


@pytest.mark.parametrize("timed_out", ["fail", "pass"])
@pytest.mark.parametrize("error", LIST_FAILS)
def test_a_commit_that_cannot_be_read_is_a_failed_poll(
    error: EmpiricalError,
    timed_out: str,
    ask: Twin,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read again until the deadline; then the gate stays closed, and the verdict says why."""

    def cannot(*_: Any) -> TestRun:
        raise error

    async def acannot(*_: Any) -> TestRun:
        raise error

    monkeypatch.setattr("empirical_provider.wait.find_commit", cannot)
    monkeypatch.setattr("empirical_provider.wait.afind_commit", acannot)
    run = ask("trigger", STAGING)
    empirical.set_state(run.id, "ended")
    policy = {"timed_out": timed_out}
    verdict = ask.wait_for_test_run(run.id, expect_commit="4f0c2d1", timeout=200, policy=policy)
    assert sum(ask.slept) == pytest.approx(200)
    assert (verdict.outcome, verdict.decision) == ("timed_out", "fail")
    assert "it is ended, but which commit it has tested could not be read" in verdict.summary
    assert str(error) in verdict.summary
    # A policy for which no commit closes the gate needs none.
    policy = {"wrong_commit": "pass"}
    verdict = ask.wait_for_test_run(run.id, expect_commit="4f0c2d1", policy=policy)
    assert verdict.outcome == Outcome.PASSED


def test_cancelling_the_async_wait_gets_through(empirical: Emulator, api_key: str) -> None:
    """A cancelled task stops waiting at once; nothing swallows the cancellation."""

    async def cancelled() -> str:
        async with AsyncEmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run = await client.trigger(STAGING)
            looked = asyncio.Event()
            waiting = asyncio.create_task(
                await_for_test_run(client, run.id, on_progress=lambda _: looked.set())
            )
            await looked.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return "cancelled"

    assert asyncio.run(asyncio.wait_for(cancelled(), 10)) == "cancelled"
