"""The report of a task: where it goes in Airflow, and that it is there before the gate acts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow.versions import find
from empirical_provider.destinations import opening
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.reporting import reporting
from empirical_provider.reports import RunReport, check_writable, write_report

if TYPE_CHECKING:
    from empirical_provider.airflow.hooks import EmpiricalHook
    from empirical_provider.verdict import Verdict

__all__ = ["check_report_path", "write_verdict"]

log = logging.getLogger(__name__)

_FIELD = "report_path"


def check_report_path(report_path: Any) -> None:
    """Refuse a path to which no report could be written, before anything is started.

    Raises:
        InvalidRequestError: It names no file, or its template has found nothing.
        ReportNotWrittenError: Its filesystem could not be opened, which may pass.
    """
    if isinstance(report_path, str) and report_path.strip() in {"", "None"}:
        raise InvalidRequestError(
            f"{_FIELD} must name a file, not {report_path!r}: its template finds nothing."
        )
    check_writable(_destination(report_path), field=_FIELD)


def write_verdict(hook: EmpiricalHook, verdict: Verdict, report_path: Any) -> None:
    """Read the run with its tests, and write the report on its verdict.

    Raises:
        ReportNotWrittenError: The gate is open, and there is no report.
    """
    with reporting(verdict, report_path, log=log), hook.get_conn() as client:
        run = client.get_test_run(verdict.run_id)
        write_report(RunReport(run=run, verdict=verdict), _destination(report_path))


def _destination(report_path: Any) -> Any:
    """Return the path as the core takes it.

    A text with a protocol that Airflow has a filesystem for, or with the id of a connection
    (``s3://my_aws@bucket/key``), is one of Airflow's object storages. Any other is left to fsspec.
    """
    if not isinstance(report_path, str) or "://" not in report_path:
        return report_path
    protocol, _, rest = report_path.partition("://")
    connection, has_one, _ = rest.partition("/")[0].rpartition("@")
    if ":" not in connection:  # which would be a password: that is the core's to refuse
        with opening(_FIELD, report_path):
            if has_one or find("airflow.sdk.io:has_fs", "airflow.io:has_fs")(protocol):
                places = ("airflow.sdk:ObjectStoragePath", "airflow.io.path:ObjectStoragePath")
                return find(*places)(report_path)
    return report_path
