"""Pages for people: one run's report, and an index of the runs."""

from collections.abc import Iterable, Mapping
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from .errors import UnknownRunError
from .queries import whole_number
from .runs import Run
from .state import State
from .views import stamp

__all__ = ["not_found_page", "report_routes"]

_CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2330;background:#f5f6f8;margin:0}
main{max-width:60rem;margin:2rem auto;padding:1.5rem 2rem;background:#fff;
border:1px solid #e2e5ea;border-radius:8px}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e8eaee;vertical-align:top}
th{color:#5b6575;font-weight:600}td{overflow-wrap:anywhere}
.badge{display:inline-block;padding:.1rem .6rem;border-radius:1rem;font-size:.85rem;
color:#fff;background:#6b7280}
.good{background:#15803d}.bad{background:#b91c1c}.odd{background:#b45309}
""".replace("\n", "")
_TONES: Mapping[str, str] = {
    "Passed": "good",
    "passed": "good",
    "Failed": "bad",
    "failed": "bad",
    "Error": "bad",
    "interrupted": "bad",
    "Partial": "odd",
    "No tests": "odd",
    "flaky": "odd",
    "Cancelled": "odd",
    "Superseded": "odd",
}


def report_routes(state: State) -> list[Route]:
    """Make the routes of the pages."""

    async def index(_: Request) -> Response:
        return _page("Test runs", _index(state.all(), state.settings.project_slug))

    async def report(request: Request) -> Response:
        run_id = whole_number(request.path_params["run_id"])
        try:
            if run_id is None or request.path_params["slug"] != state.settings.project_slug:
                return not_found_page()
            run = state.peek(run_id)
        except UnknownRunError:
            return not_found_page()
        return _page(f"Test run {run.id}", _report(run))

    return [
        Route("/", index, methods=["GET"]),
        Route("/{slug}/test-runs/{run_id}", report, methods=["GET"]),
    ]


def not_found_page() -> Response:
    """Make the page for an address that leads nowhere."""
    return _page("Page not found", "<p>There is no such page or test run.</p>", status=404)


def _page(title: str, content: str, *, status: int = 200) -> Response:
    html = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )
    return HTMLResponse(html, status, headers={"content-security-policy": _CSP})


def _index(runs: list[Run], slug: str) -> str:
    if not runs:
        return "<p>No runs yet.</p>"
    rows = [
        (
            f'<a href="/{escape(slug)}/test-runs/{run.id}">{run.id}</a>',
            escape(run.environment.slug),
            _badge(_verdict(run)),
            escape(str(stamp(run, run.created_at))),
        )
        for run in reversed(runs)
    ]
    return _table(rows, heads=("Run", "Environment", "Verdict", "Created"))


def _report(run: Run) -> str:
    facts = {
        "State": run.state,
        "Environment": f"{run.environment.name} ({run.environment.slug})",
        "Test branch": run.branch,
        "Created": stamp(run, run.created_at),
        "Ended": stamp(run, run.ended_at),
        "Triggered by": run.request.get("github_actor"),
        "Error code": run.error_code,
        "Cancel reason": run.cancel_reason,
        "Superseded by": run.superseded_by,
        "Re-run of": run.rerun_source_id,
    }
    overrides = run.request.get("environment_variables_overrides", [])
    tests = [
        (
            escape(row.file),
            escape(row.title),
            _badge(row.status) + (" snoozed" if row.snoozed else ""),
        )
        for row in run.tests
    ]
    counts = {
        "Total": run.total,
        "Passed": run.count("passed"),
        "Failed": run.count("failed"),
        "Failed, not snoozed": run.failed_after_snoozing,
        "Flaky": run.count("flaky"),
        "Skipped": run.count("skipped"),
        "Interrupted": run.count("interrupted"),
        "Missing": run.missing,
    }
    sections = [
        f"<p>{_badge(_verdict(run))}</p>",
        _facts("Run", facts),
        _facts("Build", run.request.get("build", {})),
        _facts("Metadata", run.request.get("metadata", {})),
        # Values may be secrets: only names are shown.
        _facts("Overridden variables", {item["name"]: "(value not shown)" for item in overrides}),
        _facts("Counts", counts),
    ]
    if tests:
        sections.append("<h2>Tests</h2>" + _table(tests, heads=("File", "Test", "Status")))
    return "".join(sections)


def _verdict(run: Run) -> str:
    if run.state == "ended":
        if not run.tests:
            return "No tests"
        if run.is_partial:
            return "Partial"
        return "Failed" if run.failed_after_snoozing else "Passed"
    if run.state == "cancelled" and run.superseded_by is not None:
        return "Superseded"
    return run.state.capitalize()


def _badge(word: str) -> str:
    return f'<span class="badge {_TONES.get(word, "")}">{escape(word)}</span>'


def _facts(heading: str, facts: Mapping[str, object]) -> str:
    rows = [
        (escape(name), escape(str(value))) for name, value in facts.items() if value is not None
    ]
    return f"<h2>{escape(heading)}</h2>{_table(rows)}" if rows else ""


def _table(rows: Iterable[tuple[str, ...]], *, heads: tuple[str, ...] = ()) -> str:
    """Lay out cells that are already safe HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr><td>{'</td><td>'.join(cells)}</td></tr>" for cells in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"
