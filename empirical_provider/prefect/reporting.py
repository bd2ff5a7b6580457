"""The report of a task: its path is looked at first, and it is there before red raises.

Like the gate it only translates: what a missing report does to a verdict is the core's to say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empirical_provider.destinations import Destination
    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.verdict import Verdict

__all__ = ["acheck_report_path", "awrite_verdict", "check_report_path", "write_verdict"]


def check_report_path(path: Destination | None) -> None:
    """Refuse a path to which no report could be written, before anything is started.

    Raises:
        InvalidRequestError: It names no file, or no place that can be written to.
        ReportNotWrittenError: Its filesystem could not be opened, which may pass.
    """
    from empirical_provider.reports import check_writable  # light until used

    if path is not None:
        check_writable(path, field="report_path")


async def acheck_report_path(path: Destination | None) -> None:
    """Do what `check_report_path` does, without holding up the event loop."""
    if path is not None:
        await asyncio.to_thread(check_report_path, path)


def write_verdict(
    credentials: EmpiricalCredentials, verdict: Verdict, path: Destination | None
) -> None:
    """Read the run with its tests, and write the report on its verdict, if one was asked for.

    Raises:
        ReportNotWrittenError: The gate is open, and there is no report.
    """
    from empirical_provider.reporting import reporting
    from empirical_provider.reports import RunReport, write_report

    if path is not None:
        with reporting(verdict, path, log=credentials.logger), credentials.get_client() as client:
            run = client.get_test_run(verdict.run_id)
            write_report(RunReport(run=run, verdict=verdict), path)


async def awrite_verdict(
    credentials: EmpiricalCredentials, verdict: Verdict, path: Destination | None
) -> None:
    """Do what `write_verdict` does, without holding up the event loop."""
    from empirical_provider.reporting import reporting
    from empirical_provider.reports import RunReport, write_report

    if path is not None:
        with reporting(verdict, path, log=credentials.logger):
            async with credentials.get_async_client() as client:
                run = await client.get_test_run(verdict.run_id)
            await asyncio.to_thread(write_report, RunReport(run=run, verdict=verdict), path)
