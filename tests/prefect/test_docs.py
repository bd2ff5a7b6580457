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
from tests.docs.blocks import Block, run_by

pytestmark = pytest.mark.slow  # each is a whole flow run

BLOCKS = run_by("prefect")


@pytest.fixture(autouse=True)
def _blocks(credentials: EmpiricalCredentials) -> None:
    """Save the blocks that the pages, and the docstrings of the blocks, load."""
    credentials.save("prod", overwrite=True)
    job = EmpiricalTestJob(credentials=credentials, environment="staging", poll_interval=0.1)
    job.save("prod", overwrite=True)


def run(*command: str, folder: Path) -> None:
    """Run a command with the server's address to its good end."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    done = subprocess.run(  # noqa: S603
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "python"], ids=str)
def test_a_block_runs(
    block: Block, empirical: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as a script of its own and asks the service for something, unless it only saves a
    block; or its tests pass."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "test_block.py"
    file.write_text(block.text.replace("BLOCK_NAME", "prod"))  # Prefect's word in docstrings
    if "def test_" in block.text:
        run("pytest", "-p", "no:cacheprovider", str(file), folder=tmp_path)
        return
    runpy.run_path(str(file), run_name="__main__")
    assert empirical.requests or ".save(" in block.text


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "yaml"], ids=str)
def test_a_prefect_yaml_is_deployed(block: Block, tmp_path: Path) -> None:
    """Prefect takes all deployments of the file."""
    (tmp_path / "prefect.yaml").write_text(block.text)
    run(
        "prefect",
        "work-pool",
        "create",
        "local",
        "--type",
        "process",
        "--overwrite",
        folder=tmp_path,
    )
    run("prefect", "--no-prompt", "deploy", "--all", folder=tmp_path)
