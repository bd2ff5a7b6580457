"""The documentation's code blocks of Airflow run as they stand."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.blocks import Block, parameters, pass_as_tests, run_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

pytestmark = [pytest.mark.slow, pytest.mark.swift]  # DAG runs whose looks are ten seconds apart

ALONE = "from airflow.sdk import DAG\n\nwith DAG('block'):\n"
"""What is put around operators that stand in no DAG."""


@pytest.mark.parametrize("block", parameters(run_by("airflow")))
def test_a_block_runs(
    block: Block,
    run_dag: Callable[..., DagRun],
    connection: dict[str, Any],
    empirical: Emulator,
    tmp_path: Path,
) -> None:
    """Its DAG, or a DAG around its operators, comes to a good end and has asked the service for
    something; or its tests pass."""
    assert connection
    text = block.text_for(tmp_path)
    if block.is_tests:
        file = tmp_path / "test_block.py"
        file.write_text(text)
        pass_as_tests(file)
        return
    if "DAG(" not in text:
        text = ALONE + textwrap.indent(text, "    ")
    dag_ids = re.findall(r"DAG\(\s*(?:dag_id=)?[\"'](\w+)", text)
    assert dag_ids, text
    for dag_id in dag_ids:
        (tmp_path / f"{dag_id}.py").write_text(text)
        assert run_dag(dag_id, tmp_path).states <= {"success", "skipped"}
    assert empirical.requests
