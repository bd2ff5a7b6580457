"""The code blocks of README, documentation and docstrings, each with what runs it.

* Python of Airflow or Prefect, by what it imports, and a `prefect.yaml`:
  `tests/airflow/test_docs.py`, `tests/prefect/test_docs.py`.
* Other Python, console, and the files of CI systems: `tests/docs/test_blocks.py`.
* Pages that begin with ``start-`` are followed from top to bottom: `tests/docs/test_starts.py`.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tools.site_hooks import MOUNTED

ROOT = Path(__file__).parents[2]

_IN_DOCSTRING = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
"""Also in a section such as Example, whose text is indented: to Markdown that is no fence."""

_OF_HOST = {
    host: re.compile(rf"^\s*(from|import) (empirical_provider\.)?{host}\b", re.MULTILINE)
    for host in ("airflow", "prefect")
}


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Args:
        page: The file, from the root of the repository.
        line: Its first line there.
        language: The first word of the fence.
        text: What stands in it.
        title: Its title, where it has one: the name of the file that it is.
    """

    page: str
    line: int
    language: str
    text: str
    title: str = ""

    def __str__(self) -> str:
        """Return where it stands, as the name of its test."""
        return f"{self.page}:{self.line}"

    @property
    def runner(self) -> str:
        """What runs it: airflow, prefect, core, console, ci, start, or nothing for a diagram."""
        if Path(self.page).name.startswith("start-"):
            return "start"
        if self.language == "python":
            hosts = [host for host, imports in _OF_HOST.items() if imports.search(self.text)]
            assert len(hosts) < 2, f"{self}: one block, one host"
            return hosts[0] if hosts else "core"
        if self.language == "yaml":
            return "prefect" if "deployments:" in self.text else "ci"
        return {"console": "console", "mermaid": "nothing"}[self.language]

    def text_for(self, folder: Path) -> str:
        """Return what stands in it, but for where it writes: the page's reader has a ``/tmp``."""
        return self.text.replace("/tmp/", f"{folder}/")  # noqa: S108  # what is not written to

    @property
    def is_tests(self) -> bool:
        """Whether it is for pytest to run."""
        return "def test_" in self.text


def pages() -> list[Path]:
    """Return all files that have text for users."""
    return [*(ROOT / page for page in MOUNTED), *sorted((ROOT / "docs").glob("*.md"))]


def of_page(page: Path) -> list[Block]:
    """Return the code blocks of a file, in their order."""
    text = page.read_text("utf-8")
    found = []
    for token in MarkdownIt().parse(text):
        assert token.type != "code_block", f"{page}: an indented block: {token.content}"
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = re.search(r'title="([^"]*)"', rest)
            name = page.relative_to(ROOT).as_posix()
            line = (token.map or [0])[0] + 1
            found.append(Block(name, line, language, token.content, title[1] if title else ""))
    return found


def of_docstrings(module: Path) -> list[Block]:
    """Return the Python blocks in the docstrings of a module; its other blocks are drawings."""
    found = []
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented or isinstance(node, ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False) or ""
            for fence in _IN_DOCSTRING.finditer(text):
                line = node.body[0].lineno + text.count("\n", 0, fence.start())
                name = module.relative_to(ROOT).as_posix()
                found.append(Block(name, line, "python", textwrap.dedent(fence[2])))
    return found


def all_blocks() -> list[Block]:
    """Return the code blocks of all pages, and then those of all docstrings."""
    modules = sorted((ROOT / "empirical_provider").rglob("*.py"))
    return [
        *(block for page in pages() for block in of_page(page)),
        *(block for module in modules for block in of_docstrings(module)),
    ]


def run_by(runner: str) -> list[Block]:
    """Return the code blocks that one of the suites runs."""
    return [block for block in all_blocks() if block.runner == runner]


def parameters(blocks: list[Block]) -> list[Any]:
    """Return blocks as parameters of a test.

    Those that are tests start an orchestrator of their own, which takes a minute.
    """
    marks = {True: [pytest.mark.extended], False: []}
    return [pytest.param(each, id=str(each), marks=marks[each.is_tests]) for each in blocks]


def pass_as_tests(file: Path, **environment: str) -> None:
    """Run a block that is tests, written to a file; fail with what they say."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
