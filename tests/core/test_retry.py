"""When a request is sent again: a rule without a clock of its own."""

from __future__ import annotations

import pytest

from empirical_provider import (
    EmpiricalError,
    NotSentError,
    RateLimitedError,
    TriggerOutcomeUnknownError,
    UnreadableAnswerError,
)
from empirical_provider import exceptions as tree
from empirical_provider.retry import Attempts


def longest_of(attempts: Attempts, error: EmpiricalError, count: int) -> list[float]:
    return [attempts.delay_after(error) for _ in range(count)]


def test_the_longest_delay_doubles_up_to_twenty_seconds() -> None:
    """Backoff grows from half a second to twenty."""
    attempts = Attempts(3600, clock=lambda: 0.0, draw=lambda _, longest: longest)
    assert longest_of(attempts, NotSentError("x"), 8) == [0.5, 1, 2, 4, 8, 16, 20, 20]


def test_the_delay_is_drawn_from_nothing_up() -> None:
    """Jitter is full: the drawn delay may be anything from 0 to the longest."""
    bounds: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    attempts = Attempts(60, clock=lambda: 0.0, draw=draw)
    assert longest_of(attempts, NotSentError("x"), 2) == [0.0, 0.0]
    assert bounds == [(0.0, 0.5), (0.0, 1.0)]


def test_the_service_may_ask_for_more_but_not_for_less() -> None:
    """Retry-After lengthens the delay, and a zero does not take the backoff away."""
    attempts = Attempts(3600, clock=lambda: 0.0, draw=lambda _, longest: longest)
    assert attempts.delay_after(RateLimitedError("x", retry_after=30)) == 30
    assert attempts.delay_after(RateLimitedError("x", retry_after=0)) == 1


def test_no_attempt_starts_after_the_limit() -> None:
    """An attempt that would start when the time is up is not waited for."""
    now = [0.0]
    attempts = Attempts(10, clock=lambda: now[0], draw=lambda _, longest: longest)
    error = NotSentError("the last one")
    assert attempts.delay_after(error) == 0.5
    now[0] = 9.5
    with pytest.raises(NotSentError, match="the last one"):
        attempts.delay_after(error)


def test_a_limit_of_zero_means_one_attempt() -> None:
    """With no time to retry, the first error is the last."""
    with pytest.raises(NotSentError):
        Attempts(0, clock=lambda: 0.0, draw=lambda *_: 0.0).delay_after(NotSentError("x"))


@pytest.mark.parametrize("error", [TriggerOutcomeUnknownError("x"), UnreadableAnswerError("x")])
def test_what_cannot_pass_or_must_not_be_repeated_is_raised(error: EmpiricalError) -> None:
    """An unknown outcome above all is never an occasion to send again."""
    with pytest.raises(type(error)):
        Attempts(60, clock=lambda: 0.0).delay_after(error)


def test_just_these_errors_may_pass() -> None:
    """The errors that any retry may go by are pinned here, one by one."""
    passing = {name for name in tree.__all__ if getattr(tree, name).may_pass}
    assert passing == {
        "NoAnswerError",
        "NotSentError",
        "RateLimitedError",
        "ReportNotWrittenError",
        "ServerError",
    }


@pytest.mark.parametrize("limit", [86_400.0, 30 * 86_400.0])
def test_a_day_of_attempts_has_an_end(limit: float) -> None:
    """However many attempts there are, each delay is a number, and the last error is raised."""
    now = [0.0]
    attempts = Attempts(limit, clock=lambda: now[0], draw=lambda _, longest: longest / 10)

    def go_on() -> None:
        while True:
            delay = attempts.delay_after(NotSentError("the last"))
            assert delay <= 2.0
            now[0] += delay

    with pytest.raises(NotSentError, match="the last"):
        go_on()
    assert now[0] > limit - 3
