"""The reference: it has every public name, and of each error what to do about it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from empirical_provider import exceptions
from empirical_provider.airflow import provider_info, xcom
from tests.docs.blocks import ROOT

PUBLIC = [
    "empirical_provider",
    "empirical_provider.airflow.exceptions",
    "empirical_provider.airflow.hooks",
    "empirical_provider.airflow.links",
    "empirical_provider.airflow.operators",
    "empirical_provider.airflow.sensors",
    "empirical_provider.airflow.triggers",
    "empirical_provider.emulator",
    "empirical_provider.prefect",
]
"""The modules of which docs/versioning.md says that their names are public."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, strictly, and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


def parsed(module: str) -> ast.Module:
    """Read a module without importing it: its host is not installed here."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def names_of(module: str) -> list[str]:
    """Return the public names of a module."""
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_on_a_page(module: str, site: Path) -> None:
    """Each name in the module's `__all__` has a place of its own on the site."""
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    documented = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    assert [name for name in names_of(module) if f"{module}.{name}" not in documented] == []


def test_no_private_name_is_on_a_page(site: Path) -> None:
    """No word of the reference begins with one underscore, but for an XCom key of Airflow's."""
    pages = [site / "errors", *sorted(site.glob("reference-*"))]
    assert len(pages) == 4
    html = "".join((page / "index.html").read_text("utf-8") for page in pages)
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", html, flags=re.DOTALL)
    assert {*re.findall(r"(?<!\w)_[a-zA-Z]\w*", text)} == {xcom.LINK}


def docstrings_of_errors(module: str) -> list[tuple[str, str]]:
    """Return the error classes of a module with their docstrings."""
    classes = [node for node in parsed(module).body if isinstance(node, ast.ClassDef)]
    return [(each.name, ast.get_docstring(each) or "") for each in classes]


CORES = docstrings_of_errors("empirical_provider.exceptions")
AIRFLOWS = docstrings_of_errors("empirical_provider.airflow.exceptions")


@pytest.mark.parametrize(("name", "text"), [*CORES, *AIRFLOWS])
def test_an_error_says_what_to_do(name: str, text: str) -> None:
    """Each error says whether a retry helps and what the user should do, in this order."""
    assert re.search(r"^\* Retry: .*^\* Remedy: ", text, re.MULTILINE | re.DOTALL), name


@pytest.mark.parametrize(("name", "text"), CORES)
def test_a_retry_is_said_to_help_where_retries_are_made(name: str, text: str) -> None:
    """The text about a retry agrees with `may_pass`, by which every retry goes."""
    assert ("* Retry: helps" in text) is getattr(exceptions, name).may_pass


def test_the_connection_and_the_xcoms_are_complete() -> None:
    """Airflow's page has each field of the connection, by label and name, and each XCom key."""
    page = (ROOT / "docs" / "reference-airflow.md").read_text("utf-8")
    fields = provider_info.CONNECTION_FIELDS
    keys = {xcom.TEST_RUN_ID, xcom.TEST_RUN_URL, xcom.TEST_RUN, xcom.VERDICT, xcom.LINK}
    rows = [
        *(f"| {field['label']} | extra `{name}` |" for name, field in fields.items()),
        *(f"| {label} |" for label in provider_info.UI_FIELD_BEHAVIOUR["relabeling"].values()),
        *(f"| `{key}` |" for key in keys),
    ]
    assert [row for row in rows if f"\n{row}" not in page] == []


def test_no_docstring_is_in_another_markup() -> None:
    """No docstring of the package introduces a block the way of reStructuredText."""
    for module in (ROOT / "empirical_provider").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                assert not re.search(r"::$", text, re.MULTILINE), f"{module}: {text}"
