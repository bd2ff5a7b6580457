"""What the page on troubleshooting quotes as a text of this package is one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"

QUOTED = re.findall(r"^#+ `(.*)`$", PAGE.read_text("utf-8"), re.MULTILINE)
"""Headings in the type of code, with three dots for what varies."""


def texts() -> Iterator[str]:
    """Give each text in the sources, with a null for each value that is put into it.

    Not docstrings, and not those of the emulator: it speaks for the service.
    """
    for file in (ROOT / "empirical_provider").rglob("*.py"):
        if "emulator" in file.parts:
            continue
        tree = ast.parse(file.read_text("utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "\0"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and id(node) not in told:
                yield str(node.value)


TEXTS = [*texts()]


def is_ours(quoted: str) -> bool:
    """Say whether a text of the sources has the words of a heading, in their order."""
    words = [re.escape(part.strip()) for part in quoted.split("...")]
    return any(re.search(".*".join(words), text, re.DOTALL) for text in TEXTS)


def test_there_is_something_to_look_for() -> None:
    """The page quotes texts, each once, with enough words in each to be found by."""
    assert len(QUOTED) == len(set(QUOTED)) > 20
    assert [each for each in QUOTED if len(re.findall("[A-Za-z]+", each)) < 2] == []


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_as_ours_is_in_the_source(quoted: str) -> None:
    """The heading is a text of one place in the source, but for what varies in it."""
    assert is_ours(quoted)


def test_what_is_not_ours_is_told() -> None:
    """A text that nothing here says does not pass: neither changed, nor put together of two."""
    assert not is_ours("Settle the organisation's bills with Empirical.")
    assert not is_ours("The run was not started; ... with Empirical.")
    assert not is_ours("Each token is a text with a value put into it")
