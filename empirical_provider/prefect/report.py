"""What a person reads about a run: how far it is, and the page about its verdict, as markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from empirical_provider.models import TestRun
    from empirical_provider.verdict import Verdict

__all__ = ["markdown", "plain", "progress"]

_STEPS = {"pending": 0.0, "queued": 0.0, "started": 50.0, "cancelling": 50.0}
"""How far a run is in its life, in percent: the service does not tell how many tests are done."""

_ROWS = ("environment", "branch", "commit", "error_code")
"""What else is told of a run, where it is known."""


_BARE_LINK = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\S)(?=@)", re.IGNORECASE)
"""Where a reader of markdown that makes links of bare addresses must not read on."""


def markdown(verdict: Verdict) -> str:
    """Return the page: the verdict, the run's link, its counts, and its failed tests by name."""
    told: Mapping[str, Any] = verdict.as_dict()
    rows: list[tuple[str, object]] = [("outcome", verdict.outcome), ("gate", verdict.decision)]
    rows += [(name.replace("_", " "), told[name]) for name in _ROWS if told[name] is not None]
    rows += [
        (f"tests {name.replace('_', ' ')}", count)
        for name, count in told["counts"].items()
        if count is not None
    ]
    if verdict.elapsed_seconds is not None:
        rows.append(("waited", f"{verdict.elapsed_seconds:g} s"))
    summary = verdict.summary.removesuffix(f" {verdict.url}")
    link = [f"[Open the test run]({_address(verdict.url)})", ""] if verdict.url else []
    more = verdict.failed_tests_total - len(verdict.failed_tests)
    failed = [f"- {plain(name)}" for name in verdict.failed_tests]
    return "\n".join(
        [
            f"## {plain(summary)}",
            "",
            *link,
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {plain(str(value))} |" for name, value in rows),
            *(["", "### Failed tests", "", *failed] if failed else []),
            *([f"- and {more} more"] if more else []),
            "",
        ]
    )


def progress(run: TestRun, before: float = 0.0) -> tuple[float, str]:
    """Return how far a run is, in percent, and what that says; a state not known moves nothing.

    Args:
        run: The run.
        before: How far it was.
    """
    name = f"Empirical test run {run.id}"
    named = f"[{name}]({_address(run.url)})" if run.url else name
    where = f" in {plain(run.environment)}" if run.environment else ""
    told = (
        f"{named}{where} is {plain(str(run.state))}. How many of its tests are done is not known: "
        f"0 % is waiting to start, 50 % running, 100 % over, whatever became of it."
    )
    return 100.0 if run.state.is_terminal else _STEPS.get(str(run.state), before), told


def plain(text: str) -> str:
    """Make text of others mean only itself: no markdown, no HTML, one line.

    With backslashes: the older of Prefect's two UIs shows entities as they are written. Those do
    not keep a bare address from becoming a link; a character that nobody sees does.
    """
    line = _BARE_LINK.sub("\N{WORD JOINER}", " ".join(text.split()))
    return re.sub(r"([!\"#$&()*+<=>?@\[\\\]^_`{|}~])", r"\\\1", line)


def _address(url: str) -> str:
    """Keep a URL from ending the link that it stands in."""
    return url.replace("(", "%28").replace(")", "%29").replace(" ", "%20")
