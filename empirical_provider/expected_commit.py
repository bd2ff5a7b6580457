"""Which commit a run has tested: a green verdict on another than the released one says nothing.

The documentation shows a run's commit in lists; whether the answer about one run has it is not
known. So where that leaves it out, the first page of the list is asked, once.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from empirical_provider import endpoints
from empirical_provider.driving import adrive, drive
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
    from empirical_provider.models import TestRun

__all__ = ["afind_commit", "find_commit"]

log = logging.getLogger(__name__)


def find_commit(client: EmpiricalClient, run: TestRun, expected: str | None) -> TestRun:
    """Return a finished run with its commit, where one is expected and the service tells it.

    It is worth one try and no error: where it cannot be had, the run comes back as it was.
    """
    return drive(_steps(run, expected), partial(client._send, retry_for=0))  # noqa: SLF001  # of the package


async def afind_commit(client: AsyncEmpiricalClient, run: TestRun, expected: str | None) -> TestRun:
    """Do what `find_commit` does, with an async client."""
    return await adrive(_steps(run, expected), partial(client._send, retry_for=0))  # noqa: SLF001  # of the package


def _steps(run: TestRun, expected: str | None) -> Generator[Call[Any], Any, TestRun]:
    if expected is not None and not run.commit and run.state.is_terminal:
        try:
            page: endpoints.Sighting = yield endpoints.look_at_runs(1, {run.id})
        except EmpiricalError as error:
            log.info("Which commit test run %s has tested cannot be told: %s", run.id, error)
            return run
        if run.id in page.runs:
            run = replace(run, commit=page.runs[run.id].commit)
        if not run.commit:
            log.warning("The service does not tell which commit test run %s has tested.", run.id)
    return run
