"""What is shown: results on stdout, for people or as JSON; all else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from empirical_provider.models import TestRun
from empirical_provider.verdict import Verdict

__all__ = ["Shown"]

_WIDE = 10_000
"""Characters of a line that nobody sees in a terminal: whoever reads it gets all of it."""


class Shown:
    """Shows what a command has to say.

    Args:
        as_json: Whether results are JSON: one document, whatever happens.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.err = Console(stderr=True, highlight=False)

    def tell(self, text: str) -> None:
        """Tell a person what goes on."""
        self.err.print(text, markup=False, soft_wrap=True)

    def result(self, text: str, data: Any) -> None:
        """Show what came of it."""
        click.echo(json.dumps(data, indent=2) if self.as_json else text)

    def run(self, run: TestRun) -> None:
        """Show a run that was started."""
        page = run.url or "(its page is not known)"
        self.result(f"Test run {run.id} is {run.state}: {page}", run.as_dict())

    def verdict(self, verdict: Verdict) -> None:
        """Show how a run came out, with the failed tests by name."""
        lines = [verdict.summary, *(f"  failed: {name}" for name in verdict.failed_tests)]
        self.result("\n".join(lines), verdict.as_dict())

    def runs(self, runs: Iterable[TestRun]) -> None:
        """Show runs as a table."""
        found = list(runs)
        if self.as_json:
            click.echo(json.dumps([_row(run) for run in found], indent=2))
            return
        table = Table("id", "state", "environment", "tests", "failed", "created", "page", box=None)
        for run in found:
            row = _row(run)
            left = row.pop("failed_count_after_snoozing")
            row["failed_count"] = row["failed_count"] if left is None else left
            table.add_row(*("" if cell is None else str(cell) for cell in row.values()))
        wide = None if sys.stdout.isatty() else _WIDE
        Console(highlight=False, soft_wrap=True, width=wide).print(table, markup=False)


def _row(run: TestRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "state": str(run.state),
        "environment": run.environment,
        "total_count": run.total_count,
        "failed_count": run.failed_count,
        "failed_count_after_snoozing": run.failed_count_after_snoozing,
        "created_at": run.created_at,
        "url": run.url,
    }
