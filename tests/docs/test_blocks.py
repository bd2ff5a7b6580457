"""The code blocks that need no host run as they stand; what the others are is known."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.emulator import Emulator
from tests.docs.blocks import ROOT, Block, all_blocks, pass_as_tests, run_by

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "YOUR-API-KEY"
"""The key in the pages."""

PIP = r"""#!/usr/bin/env bash
# What is installed is there already: look whether the extras that are named exist.
set -euo pipefail
for word in "$@"; do
    if [[ $word =~ ^empirical-provider(\[(.*)\])?$ ]]; then
        for extra in ${BASH_REMATCH[2]//,/ }; do
            [[ " $EXTRAS " == *" $extra "* ]] || { echo "no extra $extra" >&2; exit 1; }
        done
    fi
done
"""

MAKE = """#!/usr/bin/env bash
# Each target is a suite of its own: say what it would do.
exec /usr/bin/env -u MAKEFLAGS -u MAKELEVEL PATH="$REAL_PATH" make --directory="$REPOSITORY" -n "$@"
"""

RUN_ID = "456"
"""The run in the pages."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Return a local Empirical that the environment leads to, with a run."""
    with Emulator(api_keys=[KEY], advance="time", state_seconds=0.1) as emulator:
        monkeypatch.setenv("EMPIRICALRUN_KEY", KEY)
        monkeypatch.setenv("EMPIRICAL_BASE_URL", emulator.url)
        with EmpiricalClient() as client:
            client.trigger(TestRunRequest(environment="staging"))
        yield emulator


def text_of(block: Block, service: Emulator) -> str:
    """Return the text of a block, about the run that there is."""
    return block.text.replace(RUN_ID, str(service.runs[0].id))


def test_every_block_has_something_that_runs_it() -> None:
    """No block is in a language that nothing here runs, and each runner has some."""
    found = {block.runner for block in all_blocks()}
    assert found == {"airflow", "prefect", "core", "console", "ci", "start", "nothing"}


@pytest.mark.parametrize("block", run_by("core"), ids=str)
def test_python_runs(
    block: Block, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block runs as a script of its own to its good end, or its tests pass."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / (Path(block.title).name or "block.py")
    file.write_text(text_of(block, service))
    if block.is_tests:
        pass_as_tests(file)
    else:
        runpy.run_path(str(file), run_name="__main__")


@pytest.fixture
def shell(tmp_path: Path, service: Emulator) -> dict[str, str]:
    """Return the environment of a shell in which pip and make say what they would do."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"pip": PIP, "make": MAKE}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.environ["PATH"]
    return {
        **os.environ,
        "EMPIRICAL_BASE_URL": service.url,
        "EXTRAS": " ".join(extras["optional-dependencies"]),
        "PATH": f"{tools}:{Path(sys.executable).parent}:{path}",
        "REAL_PATH": path,
        "REPOSITORY": str(ROOT),
    }


def run(script: str, shell: dict[str, str], folder: Path) -> str:
    """Run a script to its good end; return what it wrote on stdout."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607  # wherever bash is
        cwd=folder,
        env=shell,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("block", run_by("console"), ids=str)
def test_console_runs(
    block: Block, service: Emulator, shell: dict[str, str], tmp_path: Path
) -> None:
    """Every command of the block ends well, a server comes up, and where there are prompts, what is
    shown between them is what was printed."""
    lines = text_of(block, service).splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    told = run("\n".join(map(_until_it_serves, prompted or lines)), shell, tmp_path)
    if prompted:
        assert told.splitlines() == [line for line in lines if not line.startswith("$ ")]


@pytest.mark.parametrize("block", run_by("ci"), ids=str)
def test_the_commands_of_a_ci_file_run(block: Block, shell: dict[str, str], tmp_path: Path) -> None:
    """The commands that are for the CI system to run end well, in their order."""
    commands = [*_commands(yaml.safe_load(block.text))]
    assert commands
    run("\n".join(commands), shell, tmp_path)


def _commands(part: Any) -> Iterator[str]:
    """Find commands, where GitHub Actions and GitLab have them: a text at run, a list at script."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "run":
                yield value
            elif name in {"before_script", "script"}:
                yield from value
            else:
                yield from _commands(value)
    elif isinstance(part, list):
        for each in part:
            yield from _commands(each)


def _until_it_serves(line: str) -> str:
    """Let a server go on until it has said that it is there."""
    if not re.match(
        r"(python -m empirical_provider\.emulator|empirical-provider emulator)\b", line
    ):
        return line
    start = f"coproc {{ exec {line}; }}"
    return f'{start}; read -r said <&"${{COPROC[0]}}"; echo "$said"; kill "$COPROC_PID"; wait'
