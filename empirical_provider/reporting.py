"""The report on a verdict that a gate goes by: read the run with its tests, and write it down.

What becomes of the report changes no verdict. A gate that is closed, or skipped, is so for its own
reason, and the log says that there is no report. Behind an open gate its lack is an error, which
holds the verdict: who asked for a report goes on with it, and must not take an earlier one for it.
That may pass, as another try finds the same run and has only to write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from empirical_provider.exceptions import EmpiricalError, ReportNotWrittenError
from empirical_provider.policy import Decision
from empirical_provider.reports import RunReport, write_report

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
    from empirical_provider.destinations import Destination
    from empirical_provider.verdict import Verdict

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = ["areport_verdict", "report_verdict"]

_log = logging.getLogger(__name__)


def report_verdict(
    client: EmpiricalClient, verdict: Verdict, path: Destination, *, log: Logger = _log
) -> None:
    """Write the report on a verdict, before anybody acts on it.

    Args:
        client: An open client.
        verdict: The verdict; the report holds this very one.
        path: Where to write, as for `write_report`.
        log: Where it is told how that went. Default: this module's own logger.

    Raises:
        ReportNotWrittenError: The gate is open, and the run cannot be read or the report not be
            written. It holds the verdict.
    """
    with _telling(verdict, path, log):
        run = client.get_test_run(verdict.run_id)
        write_report(RunReport(run=run, verdict=verdict), path)


async def areport_verdict(
    client: AsyncEmpiricalClient, verdict: Verdict, path: Destination, *, log: Logger = _log
) -> None:
    """Do what `report_verdict` does, with an async client; the writing holds up no event loop."""
    with _telling(verdict, path, log):
        run = await client.get_test_run(verdict.run_id)
        await asyncio.to_thread(write_report, RunReport(run=run, verdict=verdict), path)


@contextmanager
def _telling(verdict: Verdict, path: Destination, log: Logger) -> Iterator[None]:
    try:
        yield
    except EmpiricalError as error:
        told = f"{verdict.summary} \nThere is no report on it: {error}"
        if verdict.decision != Decision.PASS:
            log.error(told)  # noqa: TRY400  # the trouble is told, and no bug
            return
        missing = ReportNotWrittenError(
            told, verdict=verdict.as_dict(), run_id=verdict.run_id, run_url=verdict.url
        )
        missing.may_pass = error.may_pass
        raise missing from error
    log.info("The report on test run %s is in %s.", verdict.run_id, path)
