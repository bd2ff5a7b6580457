"""Gate a release on Empirical end-to-end tests, from inside the orchestrator.

The names below are the whole public core. They are loaded on first use, so that importing a host
module (every Airflow process that parses a DAG, every Prefect process that looks up a block) does
not pay for the HTTP client until something is sent.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
    from empirical_provider.exceptions import (
        AlreadyFinishedError,
        AuthenticationError,
        BillingError,
        EmpiricalError,
        GateClosedError,
        InvalidRequestError,
        NoAnswerError,
        NoTestsError,
        NotFoundError,
        NotSentError,
        RateLimitedError,
        ReportNotWrittenError,
        RunCancelledError,
        RunErroredError,
        RunIncompleteError,
        RunSupersededError,
        ServerError,
        TestsFailedError,
        TriggerOutcomeUnknownError,
        TriggerRejectedError,
        UnreadableAnswerError,
        WaitTimedOutError,
        WebhookRefusedError,
        WrongCommitError,
    )
    from empirical_provider.models import (
        Build,
        Concurrency,
        Environment,
        EnvironmentVariable,
        Project,
        TestResult,
        TestRun,
        TestRunRequest,
        TestRunState,
    )
    from empirical_provider.policy import Decision, GatePolicy, Outcome
    from empirical_provider.preflighting import PreflightReport, apreflight, preflight
    from empirical_provider.reports import RunReport, run_report, write_report
    from empirical_provider.settings import Timeouts
    from empirical_provider.trigger import atrigger_test_run, trigger_test_run
    from empirical_provider.trigger_once import TriggerOnce
    from empirical_provider.verdict import Counts, CountsDict, Verdict, VerdictDict
    from empirical_provider.wait import await_for_test_run, wait_for_test_run
    from empirical_provider.webhooks import WebhookEvent, read_webhook

__version__ = "0.1.0"

_HOMES = {
    "client": ("AsyncEmpiricalClient", "EmpiricalClient"),
    "exceptions": (
        "WrongCommitError",
        "WebhookRefusedError",
        "WaitTimedOutError",
        "TestsFailedError",
        "RunSupersededError",
        "RunIncompleteError",
        "RunErroredError",
        "RunCancelledError",
        "NoTestsError",
        "GateClosedError",
        "AlreadyFinishedError",
        "AuthenticationError",
        "BillingError",
        "EmpiricalError",
        "InvalidRequestError",
        "NoAnswerError",
        "NotFoundError",
        "NotSentError",
        "RateLimitedError",
        "ReportNotWrittenError",
        "ServerError",
        "TriggerOutcomeUnknownError",
        "TriggerRejectedError",
        "UnreadableAnswerError",
    ),
    "models": (
        "Build",
        "Concurrency",
        "Environment",
        "EnvironmentVariable",
        "Project",
        "TestResult",
        "TestRun",
        "TestRunRequest",
        "TestRunState",
    ),
    "policy": ("Decision", "GatePolicy", "Outcome"),
    "preflighting": ("PreflightReport", "apreflight", "preflight"),
    "reports": ("RunReport", "run_report", "write_report"),
    "settings": ("Timeouts",),
    "trigger": ("atrigger_test_run", "trigger_test_run"),
    "trigger_once": ("TriggerOnce",),
    "verdict": ("Counts", "CountsDict", "Verdict", "VerdictDict"),
    "wait": ("await_for_test_run", "wait_for_test_run"),
    "webhooks": ("WebhookEvent", "read_webhook"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadyFinishedError",
    "AsyncEmpiricalClient",
    "AuthenticationError",
    "BillingError",
    "Build",
    "Concurrency",
    "Counts",
    "CountsDict",
    "Decision",
    "EmpiricalClient",
    "EmpiricalError",
    "Environment",
    "EnvironmentVariable",
    "GateClosedError",
    "GatePolicy",
    "InvalidRequestError",
    "NoAnswerError",
    "NoTestsError",
    "NotFoundError",
    "NotSentError",
    "Outcome",
    "PreflightReport",
    "Project",
    "RateLimitedError",
    "ReportNotWrittenError",
    "RunCancelledError",
    "RunErroredError",
    "RunIncompleteError",
    "RunReport",
    "RunSupersededError",
    "ServerError",
    "TestResult",
    "TestRun",
    "TestRunRequest",
    "TestRunState",
    "TestsFailedError",
    "Timeouts",
    "TriggerOnce",
    "TriggerOutcomeUnknownError",
    "TriggerRejectedError",
    "UnreadableAnswerError",
    "Verdict",
    "VerdictDict",
    "WaitTimedOutError",
    "WebhookEvent",
    "WebhookRefusedError",
    "WrongCommitError",
    "__version__",
    "apreflight",
    "atrigger_test_run",
    "await_for_test_run",
    "preflight",
    "read_webhook",
    "run_report",
    "trigger_test_run",
    "wait_for_test_run",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
