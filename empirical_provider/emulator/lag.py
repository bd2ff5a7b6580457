"""How far lists have caught up with the runs that there are."""

from collections.abc import Iterable

from .behaviour import Behaviour
from .runs import Run

__all__ = ["Lag"]


class Lag:
    """Knows the newest run that lists show: every older one is shown too, whatever its own lag.

    Attributes:
        reads: List requests so far.
    """

    def __init__(self) -> None:
        self.reads = 0
        self._newest = 0

    def catch_up(self, runs: Iterable[Run], behaviour: Behaviour, now: float) -> None:
        """Let time and reads that have passed bring runs into the lists, oldest first."""
        for run in runs:
            if run.id <= self._newest:
                continue
            if (
                now - run.created_at < behaviour.list_lag
                or self.reads - run.lists_before < behaviour.list_lag_reads
            ):
                break
            self._newest = run.id

    def shows(self, run: Run) -> bool:
        """Tell whether lists show a run."""
        return run.id <= self._newest
