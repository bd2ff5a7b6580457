"""Runs as others see them: the API's JSON, and snapshots for tests."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .catalogue import CASES, TestRow, row, tags_of
from .echo import echoed
from .queries import CaseQuery, Query
from .runs import Run
from .settings import Environment, Settings

__all__ = [
    "RunSnapshot",
    "cases_answer",
    "detail_answer",
    "environments_answer",
    "iso",
    "list_answer",
    "snapshot",
    "stamp",
    "test_cases_answer",
    "trigger_answer",
]

_REFUSED = 400


@dataclass(frozen=True)
class RunSnapshot:
    """One run at one moment.

    Attributes:
        id: Database id.
        state: State at that moment.
        environment: Slug of its environment.
        outcome: How it is scripted to end.
        body: The request that made it, as received.
        created_at: ISO 8601, UTC.
        total_count: Executed tests, 0 until it has ended.
        failed_count: Failed tests.
        failed_count_after_snoozing: Failed tests whose failure is not snoozed.
        error_code: Cause of an error.
        cancel_reason: What the canceller said.
        superseded_by: The run that replaced it.
        rerun_source_id: The run that this one repeats.
        rerun_only_failed: It repeats only the failed tests.
    """

    id: int
    state: str
    environment: str
    outcome: str
    body: Mapping[str, Any]
    created_at: str
    total_count: int
    failed_count: int
    failed_count_after_snoozing: int
    error_code: str | None
    cancel_reason: str | None
    superseded_by: int | None
    rerun_source_id: int | None
    rerun_only_failed: bool


def iso(moment: float) -> str:
    """Write a moment the way the API does."""
    written = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")


def stamp(run: Run, moment: float | None) -> str | None:
    """Write a moment in the life of a run by the service's clock."""
    return None if moment is None else iso(moment + run.skew)


def snapshot(run: Run) -> RunSnapshot:
    """Take a snapshot of a run."""
    return RunSnapshot(
        id=run.id,
        state=run.state,
        environment=run.environment.slug,
        outcome=run.plan.outcome,
        body=copy.deepcopy(run.body),
        created_at=str(stamp(run, run.created_at)),
        total_count=run.total,
        failed_count=run.count("failed"),
        failed_count_after_snoozing=run.failed_after_snoozing,
        error_code=run.error_code,
        cancel_reason=run.cancel_reason,
        superseded_by=run.superseded_by,
        rerun_source_id=run.rerun_source_id,
        rerun_only_failed=run.rerun_only_failed,
    )


def trigger_answer(run: Run, settings: Settings) -> dict[str, Any]:
    """Answer a trigger or a re-run."""
    test_run = {
        "id": run.id,
        "state": run.state,
        "test_run_branch": run.branch,
        "created_at": stamp(run, run.created_at),
        "project_id": settings.project_id,
        "test_code": {"resolved": {"branch": run.branch, "fallback_reason": None}},
    }
    accepted = run.plan.outcome != "rejected"
    answer: dict[str, Any] = {"data": {"trigger": {"success": accepted}, "test_run": test_run}}
    if run.plan.status >= _REFUSED:
        answer["error"] = {"message": f"Failed to trigger the test run: {run.error_code}"}
    return answer


def list_answer(
    runs: list[Run], total: int, query: Query, settings: Settings, echo: frozenset[str]
) -> dict[str, Any]:
    """Answer a list request."""
    pagination = {
        "page": query.page,
        "per_page": query.per_page,
        "total": total,
        "total_pages": -(-total // query.per_page),
    }
    items = [{**_fields(run), **echoed(run, echo)} for run in runs]
    data = {"project": settings.project, "test_runs": {"items": items}}
    return {"data": data, "pagination": pagination}


def detail_answer(
    run: Run, settings: Settings, echo: frozenset[str], shape: str = "testRun"
) -> dict[str, Any]:
    """Answer a request for one run, in one of `SHAPES`."""
    test_run = {
        **_fields(run),
        **echoed(run, echo),
        "run_id": 17_000_000_000 + run.id * 7_919,  # another number on purpose: not the id
    }
    details = [_row(row) for row in run.tests]
    listed = "flattenedSummaryDetails" if shape == "testRun" else "flattened_summary_details"
    parts = {"project": settings.project, listed: details}
    if shape in {"testRun", "test_run"}:
        return {"data": {"test_run": {shape: test_run, **parts}}}
    row = {**test_run, **parts}
    return {"data": row if shape == "bare" else {"test_run": row}}


def cases_answer(run: Run, page: int, per_page: int) -> dict[str, Any]:
    """Answer a request for the cases of a run."""
    first = (page - 1) * per_page
    pagination = {
        "page": page,
        "per_page": per_page,
        "total": len(run.tests),
        "total_pages": -(-len(run.tests) // per_page),
    }
    rows = [_row(row) for row in run.tests[first : first + per_page]]
    return {"data": rows, "pagination": pagination}


def environments_answer(settings: Settings, disabled: frozenset[str]) -> dict[str, Any]:
    """Answer a request for the environments."""
    rows = [
        _environment(environment, settings, disabled)
        for environment in settings.environments.values()
    ]
    return {"data": {"environments": rows}}


def _environment(env: Environment, settings: Settings, disabled: frozenset[str]) -> dict[str, Any]:
    return {
        "id": env.id,
        "project_id": settings.project_id,
        "slug": env.slug,
        "name": env.name,
        "playwright_projects": ["chromium"],
        "platform": "web",
        "is_default": env.slug == next(iter(settings.outcomes)),
        "is_disabled": env.slug in disabled,
        "created_at": iso(0.0),
        "updated_at": iso(0.0),
        "latest_build": None,
    }


def test_cases_answer(query: CaseQuery) -> dict[str, Any]:
    """Answer a request for test cases."""
    cases = [case for index in range(CASES) if query.matches(case := _case(index))]
    first = (query.page - 1) * query.per_page
    shown = cases[first : first + query.per_page]
    pagination = {
        "page": query.page,
        "per_page": query.per_page,
        "total": len(cases),
        "total_pages": -(-len(cases) // query.per_page),
        "has_more": first + len(shown) < len(cases),
    }
    return {"data": {"test_cases": shown, "sync_error": None}, "pagination": pagination}


def _case(index: int) -> dict[str, Any]:
    test = row(index, "passed")
    return {
        "id": test.pw_test_id,
        "name": test.title,
        "file_path": test.file,
        "suites": [],
        "playwright_project": "chromium",
        "tags": [tag.removeprefix("@") for tag in tags_of(index)],
        "created_at": iso(0.0),
        "updated_at": iso(0.0),
        "first_seen_commit_sha": None,
        "last_seen_commit_sha": None,
    }


def _fields(run: Run) -> dict[str, Any]:
    """What every list item and every detail has."""
    duration = (run.ended_at or 0.0) - run.started_at if run.ended_at and run.started_at else 0.0
    return {
        "id": run.id,
        "state": run.state,
        "total_count": run.total,
        "success_count": run.count("passed"),
        "failed_count": run.count("failed"),
        "failed_count_after_snoozing": run.failed_after_snoozing,
        "skipped_count": run.count("skipped"),
        "flaky_count": run.count("flaky"),
        "duration": round(duration, 3),
        "created_at": stamp(run, run.created_at),
        "run_started_at": stamp(run, run.started_at),
        "superseded_by_test_run_id": run.superseded_by,
        "error_code": run.error_code,
    }


def _row(row: TestRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": row.title,
        "pw_test_id": row.pw_test_id,
        "status": row.status,
        "nesting": [row.file.removeprefix("tests/"), row.title],
        "test_project": "chromium",
        "slug": row.slug,
    }
    if row.snoozed:
        shown["snooze_info"] = [{"snooze_id": 1}]
    return shown
