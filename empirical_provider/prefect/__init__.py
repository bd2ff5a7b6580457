"""Empirical on Prefect: a block with the API key, and tasks that start test runs.

Prefect imports this in every process that looks up a block, so it stays light: the HTTP client is
imported when something is sent.
"""

from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.tasks import atrigger_test_run, trigger_test_run

__all__ = ["EmpiricalCredentials", "atrigger_test_run", "trigger_test_run"]
