"""The page about the architecture shows parts, imports and the modules of the core as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.blocks import ROOT, of_page

PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "empirical_provider"

PARTS = {"airflow", "prefect", "cli", "emulator"}
OTHERS = {"airflow": "Airflow", "prefect": "Prefect", "httpx": "httpx"}
"""Other packages that are drawn, by the name that they are imported by."""


def imported_by(file: Path) -> Iterator[str]:
    """Give the full names that a file imports, wherever in it that stands."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = file.parent.relative_to(ROOT).parts
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{name.name}" for name in node.names)


def part_of(name: str) -> str | None:
    """Return the node of the picture that a full name belongs to; None: it is not drawn."""
    top, _, rest = name.partition(".")
    if top != PACKAGE.name:
        return OTHERS.get(top)
    first = rest.partition(".")[0]
    return first if first in PARTS else "core"


def imports() -> set[tuple[str, str]]:
    """Return which part imports which, and which other package that is drawn."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        part = part_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
        assert part is not None
        found |= {(part, other) for name in imported_by(file) if (other := part_of(name))}
    return {(part, other) for part, other in found if part != other}


def test_the_picture_shows_the_imports() -> None:
    """Each arrow is an import between two parts, and each such import is an arrow."""
    [picture] = [block.text for block in of_page(PAGE) if block.language == "mermaid"]
    arrows = re.findall(r"^\s*(\w+) --> (\w+)$", picture, re.MULTILINE)
    assert sorted(arrows) == sorted(imports())
    assert len(arrows) == picture.count("->")


def test_the_tables_name_each_module_of_the_core() -> None:
    """Each file directly in the package is in one of the tables, once, and nothing else is."""
    _, _, section = PAGE.read_text("utf-8").partition("## The modules of the core\n")
    named = re.findall(r"^\| `(\w+)` \| \S", section, re.MULTILINE)
    assert sorted(named) == sorted(file.stem for file in PACKAGE.glob("*.py"))
