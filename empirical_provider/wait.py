"""Waiting for a test run to finish: a rule without I/O, and the two short loops that follow it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from empirical_provider import checks
from empirical_provider.exceptions import AuthenticationError, EmpiricalError, NotFoundError
from empirical_provider.expected_commit import afind_commit, find_commit
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.policy import GatePolicy
from empirical_provider.verdict import Verdict, judge
from empirical_provider.wait_options import WaitOptions

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = ["Wait", "await_for_test_run", "wait_for_test_run"]

_log = logging.getLogger(__name__)

_NOT_FOUND_GRACE = 60.0
"""Seconds for which a run may be missing: it was started a moment ago, or a proxy answers for the
service."""

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
        self._missing_since: float | None = 0.0  # it was not seen yet
        self.verdict: Verdict | None = None
        """The verdict, once there is one: then the waiting is over."""

    def saw(self, run: TestRun) -> None:
        """Take in what a look has shown."""
        self._missing_since = None
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
            self.verdict = judge(
                run,
                self._policy,
                elapsed_seconds=self._elapsed(),
                expect_commit=self._expect_commit,
            )

    def missed(self, error: EmpiricalError) -> None:
        """Take in that a look has failed; raise the error if waiting on is pointless."""
        if isinstance(error, AuthenticationError):
            raise error
        if not isinstance(error, NotFoundError):
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = self._elapsed()
        elif self._elapsed() - self._missing_since >= _NOT_FOUND_GRACE:
            raise error
        if type(error) is not type(self._trouble) or error.status != getattr(
            self._trouble, "status", None
        ):
            self._log.warning("%s Waiting on until the deadline.", error)
        self._trouble = error

    def pause(self) -> float:
        """Return the seconds until the next look; once the time is up, there is a verdict.

        The last pause ends at the deadline, so that there is always a look after it.
        """
        if self.verdict is not None:
            return 0.0
        left, told = min(self._clocks())
        if left <= 0:
            self.verdict = judge(
                self._run,
                self._policy,
                elapsed_seconds=self._elapsed(),
                timed_out=told,
                expect_commit=self._expect_commit,
            )
            return 0.0
        interval = self._poll_interval * self._draw(0.9, 1.1)
        asked = self._trouble.retry_after if self._trouble is not None else None
        return min(max(interval, asked or 0.0), left)

    def _clocks(self) -> list[tuple[float, str]]:
        """Return what is left of each time-out that runs, and what to say when it is up."""
        elapsed = self._elapsed()
        state = f"it is {self._run.state}" if self._seen else "it could not be read"
        last = f" (the last look failed: {self._trouble})" if self._trouble is not None else ""
        told = f"{state} after {elapsed:.0f} s{last}, and"
        clocks = [(self._timeout - elapsed, f"{told} the time-out is {self._timeout:g} s.")]
        if self._start_timeout is not None and (not self._seen or self._run.state in _NOT_STARTED):
            left = self._start_timeout - elapsed
            clocks.append((left, f"{told} it should have started in {self._start_timeout:g} s."))
        return clocks

    def _elapsed(self) -> float:
        return self._clock() - self._began


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
    next time, and no policy passes it.

    Args:
        client: An open client.
        run_id: Database id of the run.
        policy: What the verdict goes by: a `GatePolicy`, a mapping of its fields, or the default.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        timeout: Seconds after which to stop waiting; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default None:
            any. 0 is refused.
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
        AuthenticationError: The key is not accepted (any more).
        NotFoundError: There is no such run, also after a minute.
    """
    run_id = checks.whole_number("run_id", run_id, at_least=1)
    wait = Wait(
        client.with_url(TestRun(id=run_id, state=TestRunState("unknown"))),
        WaitOptions(
            policy=policy,
            poll_interval=poll_interval,
            timeout=timeout,
            start_timeout=start_timeout,
            expect_commit=expect_commit,
        ),
        on_progress=on_progress,
        elapsed=elapsed,
        log=log or _log,
        clock=client._clock,  # noqa: SLF001  # the clock that the client's own pauses go by
    )
    sleep = sleep or client._sleep  # noqa: SLF001
    while True:
        try:
            run = client.get_test_run(run_id, retry_for=0)
            wait.saw(find_commit(client, run, expect_commit))
        except EmpiricalError as error:
            wait.missed(error)
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
    wait = Wait(
        client.with_url(TestRun(id=run_id, state=TestRunState("unknown"))),
        WaitOptions(
            policy=policy,
            poll_interval=poll_interval,
            timeout=timeout,
            start_timeout=start_timeout,
            expect_commit=expect_commit,
        ),
        on_progress=on_progress,
        elapsed=elapsed,
        log=log or _log,
        clock=client._clock,  # noqa: SLF001  # the clock that the client's own pauses go by
    )
    sleep = sleep or client._sleep  # noqa: SLF001
    while True:
        try:
            run = await client.get_test_run(run_id, retry_for=0)
            wait.saw(await afind_commit(client, run, expect_commit))
        except EmpiricalError as error:
            wait.missed(error)
        pause = wait.pause()
        if wait.verdict is not None:
            return wait.verdict
        await sleep(pause)
