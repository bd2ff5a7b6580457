"""What this process has started, and under which key: the service may not show it of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime

from empirical_provider.models import TestRun

__all__ = ["STARTED_HERE", "Service", "StartedRuns"]

_MOST = 1_000


class StartedRuns:
    """The last runs that were started, for threads to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[tuple[str, int], tuple[datetime | None, str]] = OrderedDict()

    def add(self, service: str, run: TestRun, key: str | None) -> None:
        """Note a run that a response has named.

        Args:
            service: Where it was started: ids count there only.
            run: The run.
            key: The key that it was started under; None: it has none.
        """
        with self._lock:
            self._runs[service, run.id] = (run.created, key or "")
            while len(self._runs) > _MOST:
                self._runs.popitem(last=False)

    def key_of(self, service: str, run: TestRun) -> str | None:
        """Return the key that a run was started under, "" if it has none; None: not known."""
        with self._lock:
            created, key = self._runs.get((service, run.id), (None, None))
        # A service that was set up anew counts its ids anew.
        return None if None not in {created, run.created} and created != run.created else key


STARTED_HERE = StartedRuns()
"""Of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What has to be known of a service to start a run there once.

    Args:
        base_url: Where it is.
        dashboard_url: Where a person can look.
        api_key: The API key.
        started: What was started by this process.
    """

    base_url: str
    dashboard_url: str
    api_key: str = field(repr=False)
    started: StartedRuns = field(repr=False)

    def note(self, run: TestRun, key: str | None) -> None:
        """See `StartedRuns.add`."""
        self.started.add(self.base_url, run, key)

    def key_of(self, run: TestRun) -> str | None:
        """See `StartedRuns.key_of`."""
        return self.started.key_of(self.base_url, run)

    def why_not_new(self, run: TestRun) -> str | None:
        """Say why a run cannot have been started just now, if it was started here before."""
        return None if self.key_of(run) is None else "was started here before"

    def with_key(self, run: TestRun) -> TestRun:
        """Return a run with its key, also where the service does not show it."""
        known = None if run.trigger_key else self.key_of(run)
        return replace(run, trigger_key=known) if known else run
