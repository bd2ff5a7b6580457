"""What it costs to have this package installed: Prefect imports it at every block look-up."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import empirical_provider.prefect
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob
from empirical_provider.prefect.events import EVENT
from empirical_provider.prefect.showing import RUN


def test_the_import_is_light() -> None:
    """In a fresh process the import brings the blocks, and nothing of ours or others besides."""
    code = (
        "import sys; import prefect; before = set(sys.modules);"
        "import empirical_provider.prefect; print(*sorted(set(sys.modules) - before))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert set(answer.stdout.split()) == {
        "empirical_provider",
        "empirical_provider.addresses",
        "empirical_provider.checks",
        "empirical_provider.exceptions",
        "empirical_provider.hiding",
        "empirical_provider.prefect",
        "empirical_provider.prefect.blocks",
        "empirical_provider.prefect.credentials",
        "empirical_provider.prefect.job",
    }


def test_every_public_name_can_be_imported() -> None:
    """What is loaded on first use is there, by its own name, and nothing else pretends to be."""
    for name in empirical_provider.prefect.__all__:
        value = getattr(empirical_provider.prefect, name)
        assert getattr(value, "fn", value).__name__ == name
    assert set(empirical_provider.prefect.__all__) <= set(dir(empirical_provider.prefect))
    with pytest.raises(AttributeError, match="no attribute 'rerun_tests'"):
        empirical_provider.prefect.rerun_tests  # noqa: B018


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


def test_the_typed_user_code_uses_every_public_name() -> None:
    """`make types` checks a use of each name, by mypy and by pyright."""
    code = (Path(__file__).parents[1] / "typing" / "user_code_prefect.py").read_text("utf-8")
    assert set(empirical_provider.prefect.__all__) <= set(re.findall(r"\w+", code))


def test_what_prefect_stores_is_told_to_be_public_for_ever() -> None:
    """The block types, and the names that automations go by, stand in docs/versioning.md."""
    page = (Path(__file__).parents[2] / "docs" / "versioning.md").read_text("utf-8")
    for name in (
        *(block.get_block_type_slug() for block in (EmpiricalCredentials, EmpiricalTestJob)),
        EVENT,
        f"{RUN}ID",
    ):
        assert f"`{name}`" in page
