"""Who follows a page *in five minutes* from top to bottom, in an empty folder, gets there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, of_page

# They install everything anew, as a reader does.
pytestmark = [pytest.mark.extended, pytest.mark.timeout(1200)]

STARTS = {"start-airflow": "airflow", "start-prefect": "prefect", "start-anywhere": "core"}
"""The pages, and the versions that are installed: those that everything else is tested with."""

READY = "until (exec 3<>/dev/tcp/127.0.0.1/8321) 2>/dev/null; do sleep 0.2; done"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


def script_of(page: Path, folder: Path) -> str:
    """Write the files of a page into a folder; return the commands in between.

    A command that the page says to end red must fail, and every other must not. A server in the
    background is waited for, as a person does who reads that it listens.
    """
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p)' EXIT"]
    for block in of_page(page):
        if block.title:
            file = folder / block.title
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
        elif block.language == "console":
            for line in block.text.splitlines():
                lines.append(f"echo {shlex.quote(f'$ {line}')}")
                if line.endswith("# ends red"):
                    lines.append(f"if {line.partition('  #')[0]}; then echo not red; exit 1; fi")
                else:
                    lines += [line, READY] if line.endswith("&") else [line]
    return "\n".join(lines)


@pytest.mark.parametrize("page", STARTS)
def test_the_page_leads_there(page: str, wheel: Path, tmp_path: Path) -> None:
    """Its commands install the wheel, run green, and run red where the page says so."""
    pins = re.findall(r"^[\w.\[\]-]+==.*?(?= \\$)", _lock(STARTS[page]), re.MULTILINE)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(re.sub(r"\[.*?\]", "", pin) for pin in pins))
    folder = tmp_path / "empty"
    folder.mkdir()
    script = script_of(ROOT / "docs" / f"{page}.md", folder)
    links = f"{os.environ.get('PIP_FIND_LINKS', '')} {wheel}"
    python = Path(sys.base_prefix, "bin")  # not of this environment: of whom the page is for
    with (tmp_path / "told").open("w+") as told:
        process = subprocess.Popen(
            ["bash", "-c", script],  # noqa: S607  # wherever bash is
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{python}:{os.environ['PATH']}",
                "PIP_CONSTRAINT": str(constraints),
                "PIP_FIND_LINKS": links.strip(),
            },
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=1000)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        told.seek(0)
        output = told.read()
    assert status == 0, output
    assert "Promoted" in output or page == "start-anywhere"


def _lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()
