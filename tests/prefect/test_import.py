"""What it costs to have this package installed: Prefect imports it at every block look-up."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import empirical_provider.prefect


def test_the_import_is_light() -> None:
    """In a fresh process the import brings neither the HTTP client nor anything but our modules."""
    code = (
        "import sys; from prefect import flow, get_client, task; before = set(sys.modules);"
        "import empirical_provider.prefect; print(*sorted(set(sys.modules) - before))"
    )
    answer = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert set(answer.stdout.split()) == {
        "empirical_provider",
        "empirical_provider.checks",
        "empirical_provider.exceptions",
        "empirical_provider.prefect",
        "empirical_provider.prefect.arguments",
        "empirical_provider.prefect.calls",
        "empirical_provider.prefect.cancelling",
        "empirical_provider.prefect.credentials",
        "empirical_provider.prefect.durable",
        "empirical_provider.prefect.gate",
        "empirical_provider.prefect.job",
        "empirical_provider.prefect.job_run",
        "empirical_provider.prefect.report",
        "empirical_provider.prefect.running",
        "empirical_provider.prefect.showing",
        "empirical_provider.prefect.starting",
        "empirical_provider.prefect.tasks",
        "empirical_provider.settings",
    }


def test_prefect_finds_the_collection() -> None:
    """The entry point by which Prefect learns of the block leads here."""
    (found,) = [
        each
        for each in entry_points(group="prefect.collections")
        if each.name == "empirical_provider"
    ]

    assert found.load() is empirical_provider.prefect


def test_the_public_names_are_pinned() -> None:
    """Nothing is exported by accident, and nothing is lost."""
    assert empirical_provider.prefect.__all__ == [
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
