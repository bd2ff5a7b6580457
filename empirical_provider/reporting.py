"""What becomes of a verdict whose report cannot be written: it stands.

A gate that is closed, or skipped, is so for its own reason, and the log says that there is no
report. Behind an open gate its lack is an error, which holds the verdict: who asked for a report
goes on with it, and must not take an earlier one for it. That may pass, as another try finds the
same run and has only to write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from empirical_provider.destinations import told
from empirical_provider.exceptions import EmpiricalError, ReportNotWrittenError
from empirical_provider.policy import Decision

if TYPE_CHECKING:
    from empirical_provider.verdict import Verdict

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = ["reporting"]

_log = logging.getLogger(__name__)


@contextmanager
def reporting(verdict: Verdict, path: object, *, log: Logger = _log) -> Iterator[None]:
    """Let the verdict stand, whatever goes wrong in the block that writes the report on it.

    Args:
        verdict: The verdict; the report should hold this very one.
        path: Where the report is to be, as the user has named it.
        log: Where it is told how that went. Default: this module's own logger.

    Raises:
        ReportNotWrittenError: The gate is open, and the run could not be read or the report not be
            written. It holds the verdict.
    """
    try:
        yield
    except Exception as error:  # the host's, too, such as of a connection that is gone
        why = str(error) if isinstance(error, EmpiricalError) else told(error)
        missing = f"{verdict.summary} \nThere is no report on it: {why}"
        if verdict.decision != Decision.PASS:
            log.error(missing)  # noqa: TRY400  # the trouble is told, and is no bug
            return
        raised = ReportNotWrittenError(
            missing, verdict=verdict.as_dict(), run_id=verdict.run_id, run_url=verdict.url
        )
        raised.may_pass = getattr(error, "may_pass", True)
        raise raised from error
    log.info("The report on test run %s is in %s.", verdict.run_id, path)
