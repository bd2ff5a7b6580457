"""How a wait goes on, on stderr: one changing line in a terminal, lines of a log elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import ClassVar, Self

from rich.text import Text

from empirical_provider.cli.console import Shown
from empirical_provider.models import TestRun

__all__ = ["Progress"]


class Progress:
    """Tells of each state of a run and, in a log, once a minute that it is still so.

    Args:
        shown: What tells it.
        test_run_id: Id of the run.
    """

    every: ClassVar[float] = 60.0
    """Seconds after which a log is told again of a state that does not change."""

    def __init__(self, shown: Shown, test_run_id: int) -> None:
        self._shown = shown
        self._run_id = test_run_id
        self._state = "not read yet"
        self._began = self._told_at = time.monotonic()
        in_terminal = shown.err.is_terminal
        self._status = shown.err.status(f"Waiting for test run {test_run_id}")
        self._line = self._status if in_terminal else None

    def __enter__(self) -> Self:
        if self._line is not None:
            self._line.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._line is not None:
            self._line.stop()

    def saw(self, run: TestRun) -> None:
        """Take in a run whose state is new."""
        self._state = str(run.state)
        if self._line is None:
            self._tell(f"is {run.state}", f". {run.url or ''}")
        else:
            told = f"Test run {run.id} is {run.state} {run.url or ''}"
            self._line.update(Text(told))  # no markup: its words are the service's

    def goes_on(self) -> None:
        """Take in that the wait goes on."""
        if self._line is None and time.monotonic() - self._told_at >= self.every:
            self._tell(f"is still {self._state}", ".")

    def _tell(self, what: str, end: str) -> None:
        self._told_at = time.monotonic()
        minutes, seconds = divmod(round(self._told_at - self._began), 60)
        self._shown.tell(
            f"Test run {self._run_id} {what} after {minutes}:{seconds:02} min{end}".rstrip()
        )
