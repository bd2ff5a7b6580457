"""Empirical on Prefect: blocks with the API key and with what to run, and tasks that gate a flow.

Prefect imports this in every process that looks up a block, so it stays light: the HTTP client is
imported when something is sent, and the ready flow when it is asked for.
"""

from typing import TYPE_CHECKING

from empirical_provider.prefect.cancelling import cancel_test_runs_on_cancellation
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.gate import await_for_test_run, wait_for_test_run
from empirical_provider.prefect.job import EmpiricalTestJob
from empirical_provider.prefect.job_run import EmpiricalTestJobRun
from empirical_provider.prefect.running import arun_tests, run_tests
from empirical_provider.prefect.tasks import atrigger_test_run, trigger_test_run

if TYPE_CHECKING:
    from empirical_provider.prefect.flows import run_empirical_tests

__all__ = [
    "EmpiricalCredentials",
    "EmpiricalTestJob",
    "EmpiricalTestJobRun",
    "arun_tests",
    "atrigger_test_run",
    "await_for_test_run",
    "cancel_test_runs_on_cancellation",
    "run_empirical_tests",
    "run_tests",
    "trigger_test_run",
    "wait_for_test_run",
]


def __getattr__(name: str) -> object:
    """Load the ready flow on first use: making a flow takes as long as all the rest here."""
    if name != "run_empirical_tests":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical_provider.prefect.flows import run_empirical_tests

    globals()[name] = run_empirical_tests
    return run_empirical_tests
