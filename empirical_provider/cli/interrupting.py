"""Ctrl-C while a run is waited for: the first one cancels the run, the second one leaves it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from empirical_provider.client import EmpiricalClient
from empirical_provider.exceptions import AlreadyFinishedError, EmpiricalError

__all__ = ["Interruptions"]

_SLICE = 0.2
"""Seconds after which a pause looks whether it has been interrupted."""


class Interruptions:
    """Takes Ctrl-C for as long as it is entered.

    Args:
        client: Cancels the run.
        tell: Called with what is told to the person.
        cancels: Whether the first Ctrl-C cancels; if not, it leaves at once.
    """

    def __init__(
        self, client: EmpiricalClient, tell: Callable[[str], None], *, cancels: bool
    ) -> None:
        self._client = client
        self._tell = tell
        self._cancels = cancels
        self._asked = self._done = False
        self.run_id: int | None = None
        """The run, once it is known; one that is asked to be cancelled before is cancelled then."""

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the signal instead of Python."""
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def sleep(self, seconds: float) -> None:
        """Pause, and cancel the run soon after somebody has asked for it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.cancel_if_asked()
            time.sleep(min(left, _SLICE))
        self.cancel_if_asked()

    def cancel_if_asked(self) -> None:
        """Cancel the run, once, if somebody has asked for it and the run is known."""
        if not self._asked or self._done or self.run_id is None:
            return
        self._done = True
        try:
            self._client.cancel_test_run(self.run_id, reason="Ctrl-C in a terminal.")
        except AlreadyFinishedError:
            return
        except EmpiricalError as error:
            self._tell(f"Test run {self.run_id} could not be cancelled: {error}")
            raise KeyboardInterrupt from error

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> Any:
        if self._asked or not self._cancels:
            raise KeyboardInterrupt
        self._asked = True
        self._tell("Cancelling the test run; Ctrl-C again leaves it as it is.")
