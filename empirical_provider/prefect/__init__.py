"""Empirical on Prefect: blocks with the API key and with what to run, and tasks that gate a flow.

Prefect imports this in every process that looks up a block, so only the blocks are loaded with it.
All else is loaded when it is asked for, and the HTTP client when something is sent.
"""

import importlib
from typing import TYPE_CHECKING

from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.job import EmpiricalTestJob

if TYPE_CHECKING:
    from empirical_provider.prefect.cancelling import cancel_test_runs_on_cancellation
    from empirical_provider.prefect.events import emit_test_run_events
    from empirical_provider.prefect.flows import run_empirical_tests
    from empirical_provider.prefect.gate import await_for_test_run, wait_for_test_run
    from empirical_provider.prefect.job_run import EmpiricalTestJobRun
    from empirical_provider.prefect.preflighting import apreflight, preflight
    from empirical_provider.prefect.running import arun_tests, run_tests
    from empirical_provider.prefect.tasks import (
        atrigger_test_run,
        is_retryable,
        trigger_test_run,
    )

__all__ = [
    "EmpiricalCredentials",
    "EmpiricalTestJob",
    "EmpiricalTestJobRun",
    "apreflight",
    "arun_tests",
    "atrigger_test_run",
    "await_for_test_run",
    "cancel_test_runs_on_cancellation",
    "emit_test_run_events",
    "is_retryable",
    "preflight",
    "run_empirical_tests",
    "run_tests",
    "trigger_test_run",
    "wait_for_test_run",
]

_HOME_OF = {
    "EmpiricalTestJobRun": "job_run",
    "apreflight": "preflighting",
    "preflight": "preflighting",
    "arun_tests": "running",
    "atrigger_test_run": "tasks",
    "await_for_test_run": "gate",
    "cancel_test_runs_on_cancellation": "cancelling",
    "emit_test_run_events": "events",
    "is_retryable": "tasks",
    "run_empirical_tests": "flows",
    "run_tests": "running",
    "trigger_test_run": "tasks",
    "wait_for_test_run": "gate",
}


def __getattr__(name: str) -> object:
    """Load all but the blocks from its module on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
