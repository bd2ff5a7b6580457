"""The sync and the async side say the same, line by line, but for async and await."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Mapping

import pytest

from empirical_provider import (
    client,
    driving,
    ended_runs,
    expected_commit,
    preflighting,
    trigger,
    wait,
)

TWIN_NAMES = {
    "AsyncEmpiricalClient": "EmpiricalClient",
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "AsyncSaver": "Saver",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "adrive": "drive",
    "afind_commit": "find_commit",
    "aiter_raw": "iter_raw",
    "asyncio": "time",
    "atrigger_test_run": "trigger_test_run",
    "alook_for_ended_runs": "look_for_ended_runs",
    "apreflight": "preflight",
    "await_for_test_run": "wait_for_test_run",
}
"""Names that differ between the twins by convention; everything else must be equal."""


class _Strip(ast.NodeTransformer):
    """Takes out async, await and docstrings, and writes the sync names."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit(ast.FunctionDef(**dict(ast.iter_fields(node))))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._names.get(node.name, node.name)
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._names.get(node.name, node.name)
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.generic_visit(ast.With(**dict(ast.iter_fields(node))))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.generic_visit(ast.For(**dict(ast.iter_fields(node))))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self._names.get(node.attr, node.attr)
        return self.generic_visit(node)


def plain(thing: object, names: Mapping[str, str] = TWIN_NAMES) -> list[str]:
    """Return the lines of a function or class, the same for the sync and the async variant."""
    tree = _Strip(names).visit(ast.parse(inspect.getsource(thing)))  # type: ignore[arg-type]
    return ast.unparse(ast.fix_missing_locations(tree)).splitlines()


@pytest.mark.parametrize(
    ("sync", "twin"),
    [
        (client.EmpiricalClient, client.AsyncEmpiricalClient),
        (trigger.trigger_test_run, trigger.atrigger_test_run),
        (wait.wait_for_test_run, wait.await_for_test_run),
        (preflighting.preflight, preflighting.apreflight),
        (ended_runs.look_for_ended_runs, ended_runs.alook_for_ended_runs),
        (expected_commit.find_commit, expected_commit.afind_commit),
        (driving.drive, driving.adrive),
    ],
    ids=["client", "trigger", "wait", "preflight", "ended runs", "commit", "drive"],
)
def test_the_twins_are_equal(sync: object, twin: object) -> None:
    """With async, await and docstrings taken out, the twins are the same text in the same order."""
    difference = list(difflib.unified_diff(plain(sync), plain(twin), "sync", "async", lineterm=""))
    assert not difference, "\n".join(difference)
