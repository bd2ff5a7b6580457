"""The documentation's code blocks of Prefect run as they stand."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob
from tests.docs.blocks import Block, parameters, pass_as_tests, run_by

pytestmark = [pytest.mark.slow, pytest.mark.swift]  # flow runs whose looks are ten seconds apart

BLOCKS = run_by("prefect")


@pytest.fixture(autouse=True)
def _blocks(credentials: EmpiricalCredentials) -> None:
    """Save the blocks that the pages, and the docstrings of the blocks, load."""
    credentials.save("prod", overwrite=True)
    job = EmpiricalTestJob(credentials=credentials, environment="staging", poll_interval=0.1)
    job.save("prod", overwrite=True)


def server() -> dict[str, str]:
    """Return what leads another process to the server."""
    return get_current_settings().to_environment_variables(exclude_unset=True)


def prefect(*command: str, folder: Path) -> None:
    """Run Prefect's command to its good end."""
    done = subprocess.run(
        [Path(sys.executable).with_name("prefect"), *command],
        cwd=folder,
        env={**os.environ, **server()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "block", parameters([each for each in BLOCKS if each.language == "python"])
)
def test_a_block_runs(
    block: Block, empirical: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as a script of its own and asks the service for something, unless it only saves a
    block; or its tests pass."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "test_block.py"
    text = block.text_for(tmp_path).replace("BLOCK_NAME", "prod")  # Prefect's word in docstrings
    file.write_text(text)
    if block.is_tests:
        pass_as_tests(file, **server())
        return
    runpy.run_path(str(file), run_name="__main__")
    assert empirical.requests or ".save(" in block.text


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "yaml"], ids=str)
def test_a_prefect_yaml_is_deployed(block: Block, tmp_path: Path) -> None:
    """Prefect takes all deployments of the file."""
    (tmp_path / "prefect.yaml").write_text(block.text)
    pool = ("create", "local", "--type", "process", "--overwrite")
    prefect("work-pool", *pool, folder=tmp_path)
    prefect("--no-prompt", "deploy", "--all", folder=tmp_path)
