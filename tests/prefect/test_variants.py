"""The sync and the async task say the same, line by line, but for async and await."""

from __future__ import annotations

import difflib

import pytest
from prefect.tasks import Task

from empirical_provider.prefect import (
    apreflight,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    preflight,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)
from tests.core.test_twins import plain

SYNC_NAMES = {
    "acheck_report_path": "check_report_path",
    "acredentials_of": "credentials_of",
    "aguarded": "guarded",
    "alabel_flow_run": "label_flow_run",
    "apreflight": "preflight",
    "arun_tests": "run_tests",
    "ashow_run": "show_run",
    "astart": "start",
    "astart_unshown": "start_unshown",
    "atrigger_test_run": "trigger_test_run",
    "await_for_test_run": "wait_for_test_run",
    "await_verdict": "wait_for_verdict",
    "get_async_client": "get_client",
}
"""What the async variant calls, and the sync variant of each."""


@pytest.mark.parametrize(
    ("sync", "variant"),
    [
        (trigger_test_run, atrigger_test_run),
        (wait_for_test_run, await_for_test_run),
        (run_tests, arun_tests),
        (preflight, apreflight),
    ],
    ids=["trigger", "wait", "run", "preflight"],
)
def test_the_variants_are_equal(sync: Task[..., object], variant: Task[..., object]) -> None:
    """With async, await and docstrings taken out, both variants are the same lines."""
    lines = [plain(each.fn, SYNC_NAMES) for each in (sync, variant)]
    difference = list(difflib.unified_diff(*lines, "sync", "async", lineterm=""))
    assert not difference, "\n".join(difference)
