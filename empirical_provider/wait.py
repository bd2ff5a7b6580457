"""Waiting for a test run to finish: a rule without I/O, and the two short loops that follow it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from empirical_provider import checks
from empirical_provider.exceptions import REJECTIONS, EmpiricalError
from empirical_provider.expected_commit import afind_commit, find_commit
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.policy import Decision, GatePolicy, Outcome
from empirical_provider.verdict import Verdict, judge
from empirical_provider.wait_options import WaitOptions

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = ["LONGEST_RETRY_AFTER", "SharesPolls", "Wait", "await_for_test_run", "wait_for_test_run"]

_log = logging.getLogger(__name__)

_GRACE = 60.0
"""Seconds for which the run's own page may return the same refusal, or a final state that makes no
sense: the run was started a moment ago, a key is being replaced, a proxy responds in between."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds for which a ``Retry-After`` is obeyed at most: the run may end meanwhile."""

_TICK = 0.001
"""Seconds by which a clock may miss a limit: sums of pauses are not exact."""

_NOT_STARTED = (TestRunState.PENDING, TestRunState.QUEUED)


class Wait:
    """What is known while waiting for one run, and when to look again.

    Args:
        run: The run, as far as it is known.
        options: How to wait, and what the verdict goes by.
        on_progress: Called with the run whenever its state has changed.
        elapsed: Seconds that were waited before, elsewhere; default 0.
        log: Where the wait is told; default: this module's own logger.
        clock: Monotonic clock, in seconds.
        draw: Draws a number evenly between two bounds.
    """

    def __init__(
        self,
        run: TestRun,
        options: WaitOptions,
        *,
        on_progress: Callable[[TestRun], object] | None,
        elapsed: float = 0.0,
        log: Logger = _log,
        clock: Callable[[], float],
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = GatePolicy.of(options.policy)
        self._poll_interval = options.poll_interval
        self._timeout = options.timeout
        self._start_timeout = options.start_timeout
        self._expect_commit = options.expect_commit
        self._on_progress = on_progress
        self._log = log
        self._clock = clock
        self._draw = draw
        self._began = clock() - elapsed
        self._run = run
        self._seen = False
        self._trouble: EmpiricalError | None = None
        self._refusal: object = None
        self._refused_at = 0.0
        self._without_commit: TestRun | None = None
        self.confirmed = True
        """Whether the last poll was of the run's own page: no other ends the wait."""
        self.verdict: Verdict | None = None
        """The verdict, once there is one: then the waiting is over."""

    def saw(self, run: TestRun) -> None:
        """Take in what a look has shown."""
        self._refusal = None
        if self._trouble is not None:
            self._log.info("Test run %s can be read again.", run.id)
            self._trouble = None
        changed = not self._seen or run.state != self._run.state
        self._run, self._seen = run, True
        if changed:
            self._log.info(
                "Test run %s is %s after %.0f s. %s",
                run.id,
                run.state,
                self._elapsed(),
                run.url or "",
            )
            if self._on_progress is not None:
                self._on_progress(run)
        if run.state.is_terminal:
            self.verdict = self._judged(run)

    def missed(self, error: EmpiricalError, run: TestRun | None = None) -> None:
        """Take in that a look has failed; raise the error if waiting on is pointless.

        Args:
            error: Why it failed.
            run: The run, if it could be read: then it is its commit that could not be.
        """
        if run is not None:
            if self._policy.wrong_commit == Decision.PASS:  # then no commit closes the gate
                self.saw(run)
                return
            self._without_commit = run
        refusal = _refusal(error) if run is None else None
        if refusal is None or refusal != self._refusal:
            self._refusal, self._refused_at = refusal, self._elapsed()
        elif self._elapsed() - self._refused_at >= _GRACE - _TICK:
            self._conclude_as_read(error)
            if self.verdict is None and _final(error) is None:
                raise error
        if type(error) is not type(self._trouble) or error.status != getattr(
            self._trouble, "status", None
        ):
            until = "the deadline" if refusal is None else f"this has lasted for {_GRACE:.0f} s"
            self._log.warning("%s Waiting on until %s.", error, until)
        self._trouble = error

    def pause(self) -> float:
        """Return the seconds until the next look; once the time is up, there is a verdict.

        The last pause ends at the deadline, so that there is always a look after it.
        """
        if self.verdict is not None:
            return 0.0
        over = self._over()
        if over is None:
            interval = self._poll_interval * self._draw(0.9, 1.1)
            asked = (self._trouble.retry_after if self._trouble is not None else None) or 0.0
            return min(max(interval, min(asked, LONGEST_RETRY_AFTER)), self.next_limit())
        if self.confirmed:
            self._conclude_as_read(self._trouble)
            self.verdict = self.verdict or self._timed_out(over)
        return 0.0

    # For clients that share their polls

    @property
    def state(self) -> TestRunState | None:
        """The state that the last poll saw; None: it failed, or there was none."""
        return self._run.state if self._seen and self._trouble is None else None

    @property
    def is_refused(self) -> bool:
        """Whether the run's own page was refused: then no list is believed."""
        return self._refusal is not None

    def time_left(self) -> float:
        """Return the seconds until the deadline; 0 or less: it is over."""
        left = self._timeout - self._elapsed()
        return left if left > _TICK else min(left, 0.0)

    def next_limit(self) -> float:
        """Return the seconds until the next of the limits that lie ahead; 0: none does."""
        ahead = [limit - self._elapsed() for limit, _ in self._limits()]
        return min((left for left in ahead if left > _TICK), default=0.0)

    def needs_page(self, run: TestRun) -> bool:
        """Whether what a list shows would end the wait, or is older than what was seen.

        Then the run's own page decides.
        """
        if run.state in _NOT_STARTED:
            has_started = self._seen and self._run.state not in _NOT_STARTED
            is_late = self._start_timeout is not None and self._is_past(self._start_timeout)
            return has_started or is_late or self.time_left() <= 0
        return self.time_left() <= 0

    # How it ends

    def _limits(self) -> list[tuple[float, str]]:
        """Return the limits that run, in seconds from the beginning, and how to name them."""
        limits = [(self._timeout, f"the time-out is {self._timeout:g} s.")]
        has_started = self._seen and self._run.state not in _NOT_STARTED
        if self._start_timeout is not None and not (has_started or self._without_commit):
            words = f"it should have started in {self._start_timeout:g} s."
            limits.append((self._start_timeout, words))
        return sorted(limits)

    def _over(self) -> str | None:
        """Name the limit that ends the wait; that of the start needs a poll that saw no start."""
        for limit, words in self._limits():
            if self._is_past(limit) and (limit == self._timeout or self.state in _NOT_STARTED):
                return words
        return None

    def _is_past(self, limit: float) -> bool:
        return self._elapsed() >= limit - _TICK

    def _conclude_as_read(self, error: EmpiricalError | None) -> None:
        """Judge a run that has finished by a page that made no sense. That opens no gate."""
        run = _final(error)
        verdict = None if run is None else self._judged(run)
        if verdict is not None and verdict.outcome != Outcome.PASSED:
            self.verdict = verdict

    def _timed_out(self, limit: str) -> Verdict:
        run, policy = self._run, self._policy
        state = f"it is {run.state}" if self._seen else "it could not be read"
        if self._without_commit is not None:
            run = self._without_commit
            state = f"it is {run.state}, but which commit it has tested could not be read"
            if policy.timed_out == Decision.PASS:  # that is for runs that have not finished
                policy = replace(policy, timed_out=Decision.FAIL)
        last = f" (the last look failed: {self._trouble})" if self._trouble is not None else ""
        told = f"{state} after {self._elapsed():.0f} s{last}, and {limit}"
        return self._judged(run, policy, told)

    def _judged(
        self, run: TestRun, policy: GatePolicy | None = None, timed_out: str | None = None
    ) -> Verdict:
        return judge(
            run,
            policy or self._policy,
            elapsed_seconds=self._elapsed(),
            timed_out=timed_out,
            expect_commit=self._expect_commit,
        )

    def _elapsed(self) -> float:
        return self._clock() - self._began


def _final(error: EmpiricalError | None) -> TestRun | None:
    """Return the finished run that a page has shown, although the page made no sense."""
    run: TestRun | None = getattr(error, "run", None)
    return run if run is not None and run.state.is_terminal else None


def _refusal(error: EmpiricalError) -> object:
    """Return what makes an error the same refusal as another one; None: it is no refusal."""
    if _final(error) is not None:
        return "a final state that makes no sense"
    is_redirect = 300 <= (error.status or 0) < 400  # noqa: PLR2004
    if is_redirect or isinstance(error, REJECTIONS):
        return type(error), None if is_redirect else error.status
    return None


class SharesPolls:
    """A client whose polls serve other waits, too: it goes by what its own wait knows."""

    wait: Wait | None = None


def _begin(
    client: EmpiricalClient | AsyncEmpiricalClient,
    run_id: int,
    options: WaitOptions,
    *,
    on_progress: Callable[[TestRun], object] | None,
    elapsed: float,
    log: Logger | None,
) -> Wait:
    wait = Wait(
        client.with_url(TestRun(id=run_id, state=TestRunState("unknown"))),
        options,
        on_progress=on_progress,
        elapsed=elapsed,
        log=log or _log,
        clock=client._clock,  # noqa: SLF001  # the clock that the client's own pauses go by
    )
    if isinstance(client, SharesPolls):
        client.wait = wait
    return wait


def wait_for_test_run(
    client: EmpiricalClient,
    run_id: int,
    *,
    policy: GatePolicy | Mapping[str, Any] | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    expect_commit: str | None = None,
    on_progress: Callable[[TestRun], object] | None = None,
    elapsed: float = 0.0,
    sleep: Callable[[float], Any] | None = None,
    log: Logger | None = None,
) -> Verdict:
    """Wait until a run has finished, and judge it.

    The first look is taken at once. Looks that fail are logged when the trouble changes, and
    survived until the deadline; at the deadline there is a last look. An answer about another run,
    or with numbers of tests that no run can have, is a look that has failed: it may be right the
    next time, and no policy passes it. If a finished run returns nothing else for a minute, the
    verdict is based on what could be read.

    A commit that is expected and cannot be read is a failed look, too; at the deadline the gate
    stays closed.

    Args:
        client: An open client.
        run_id: Database id of the run.
        policy: What the verdict goes by: a `GatePolicy`, a mapping of its fields, or the default.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10. A longer
            ``Retry-After`` is obeyed for up to a minute, and never past a limit of the wait.
        timeout: Seconds after which to stop waiting; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default None:
            any. 0 is refused. Only a look that sees the run pending or queued ends the wait.
        expect_commit: The commit that must have been tested, where the service tells which was;
            either may be abbreviated. Default None: any.
        on_progress: Called with the run whenever its state has changed.
        elapsed: Seconds that were waited before, elsewhere; both time-outs count them. Default 0.
        sleep: Called with the seconds to pause between two looks; what it raises ends the wait.
            Default: the client's own pause.
        log: Where changes of state and trouble with looks are told: a ``logging.Logger`` or a
            ``logging.LoggerAdapter``, such as that of a host's task. Default: that of this module.

    Returns:
        The verdict; whether it closes the gate is in its ``decision``. A run that has not
        finished in time has the outcome ``timed_out``: its fate is not known.

    Raises:
        InvalidRequestError: An argument is not valid.
        AuthenticationError: The run's own page has rejected the key for a minute. If the key may
            have been replaced, read it again and wait on with a new client and ``elapsed``.
        NotFoundError: There is no such run, also after a minute.
        UnreadableAnswerError: The run's own page has redirected for a minute.
    """
    run_id = checks.whole_number("run_id", run_id, at_least=1)
    options = WaitOptions(
        policy=policy,
        poll_interval=poll_interval,
        timeout=timeout,
        start_timeout=start_timeout,
        expect_commit=expect_commit,
    )
    wait = _begin(client, run_id, options, on_progress=on_progress, elapsed=elapsed, log=log)
    sleep = sleep or client._sleep  # noqa: SLF001
    while True:
        run: TestRun | None = None
        try:
            run = client.get_test_run(run_id, retry_for=0)
            wait.saw(find_commit(client, run, expect_commit))
        except EmpiricalError as error:
            wait.missed(error, run)
        pause = wait.pause()
        if wait.verdict is not None:
            return wait.verdict
        sleep(pause)


async def await_for_test_run(
    client: AsyncEmpiricalClient,
    run_id: int,
    *,
    policy: GatePolicy | Mapping[str, Any] | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,  # noqa: ASYNC109  # the twin's name
    start_timeout: float | None = None,
    expect_commit: str | None = None,
    on_progress: Callable[[TestRun], object] | None = None,
    elapsed: float = 0.0,
    sleep: Callable[[float], Any] | None = None,
    log: Logger | None = None,
) -> Verdict:
    """Do what `wait_for_test_run` does, with an async client."""
    run_id = checks.whole_number("run_id", run_id, at_least=1)
    options = WaitOptions(
        policy=policy,
        poll_interval=poll_interval,
        timeout=timeout,
        start_timeout=start_timeout,
        expect_commit=expect_commit,
    )
    wait = _begin(client, run_id, options, on_progress=on_progress, elapsed=elapsed, log=log)
    sleep = sleep or client._sleep  # noqa: SLF001
    while True:
        run: TestRun | None = None
        try:
            run = await client.get_test_run(run_id, retry_for=0)
            wait.saw(await afind_commit(client, run, expect_commit))
        except EmpiricalError as error:
            wait.missed(error, run)
        pause = wait.pause()
        if wait.verdict is not None:
            return wait.verdict
        await sleep(pause)
