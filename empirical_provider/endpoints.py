"""Every request about test runs, each described once: what is sent, and how the answer reads.

Those about the project stand in `project_endpoints`.
Nothing here touches the network: a call is plain data, and its reader is a function of the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from empirical_provider import answers, checks
from empirical_provider.credibility import incredible
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.models import TestRun, TestRunRequest, TestRunState
from empirical_provider.trigger_key import METADATA_KEY

__all__ = [
    "Call",
    "RunList",
    "Sighting",
    "cancel_test_run",
    "get_test_run",
    "list_test_runs",
    "look_at_runs",
    "rerun_test_run",
    "trigger",
]

T = TypeVar("T")

MOST_PER_PAGE = 100
"""The API's own limit."""

_LONGEST_FILTER = 1000
"""Characters of a text in a query: far more than a branch can have, and few enough to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request to the service, and how to read its answer.

    Args:
        asked: What it asks for, to complete the sentence "Could not ...".
        method: HTTP method.
        path: Path below the base URL.
        read: Makes the result from the JSON of a 2xx answer; raises one of
            the two exceptions of `answers`.
        params: Query parameters.
        body: JSON body.
        starts_run: Whether it starts a run: then it is not sent again once it may have arrived.
        run_id: The run it is about, if it is about one.
        secrets: Texts that no message may hold.
    """

    asked: str
    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int] | None = None
    body: Mapping[str, Any] | None = None
    starts_run: bool = False
    run_id: int | None = None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """One page of runs, and whether more may follow."""

    runs: tuple[TestRun, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one page of the run list shows of the runs that were asked for.

    Args:
        runs: Those that it shows, by id.
        oldest: The lowest id on the page; 0: it is empty.
        more: Whether another page may follow.
        newest_first: Whether its ids are in that order: only then is a run that is older than it
            on a later page.
    """

    runs: Mapping[int, TestRun]
    oldest: int
    more: bool
    newest_first: bool = True


def trigger(request: TestRunRequest) -> Call[TestRun]:
    """Start a test run."""
    key = (request.metadata or {}).get(METADATA_KEY)

    def read(answer: Any) -> TestRun:
        run = answers.started_run(
            answer, environment=request.environment, key=None if key is None else str(key)
        )
        return replace(run, environment=request.environment)

    return Call(
        asked=f"start a test run in the environment {request.environment!r}",
        method="PUT",
        path="/api/test-runs",
        read=read,
        body=request.body(),
        starts_run=True,
        secrets=request.secrets,
    )


def rerun_test_run(
    run_id: int, *, only_failed: bool | None = None, send_notifications: bool | None = None
) -> Call[TestRun]:
    """Start a run that repeats another one, or only the tests that failed in it."""
    run_id = checks.whole_number("run_id", run_id, at_least=1)
    options = {"only_failed": only_failed, "send_notifications": send_notifications}
    body = {name: checks.flag(name, value) for name, value in options.items() if value is not None}

    def read(answer: Any) -> TestRun:
        run = answers.started_run(answer, rerun_of=run_id)
        if run.id == run_id:
            raise answers.Unreadable("it names the run that was to be repeated as the new one")
        return replace(run, rerun_source_id=run_id)

    return Call(
        asked=f"re-run test run {run_id}",
        method="POST",
        path=f"/api/test-runs/{run_id}/re-run",
        read=read,
        body=body,
        starts_run=True,
        run_id=run_id,
    )


def get_test_run(run_id: int) -> Call[TestRun]:
    """Read one run with its tests."""
    run_id = checks.whole_number("run_id", run_id, at_least=1)

    def read(answer: Any) -> TestRun:
        row, where, tests, slug = answers.detail_of(answer)
        run = replace(answers.test_run(row, where), project_slug=slug, tests=tests)
        if run.id != run_id:
            raise answers.Unreadable(f"it tells of test run {run.id} instead of {run_id}")
        # Not left to the verdict alone: a wait polls again, as a better response may come.
        wrong = incredible(row, tests) if run.state == TestRunState.ENDED else None
        if wrong is not None:
            raise answers.Unreadable(f"it ended, but {wrong}", replace(run, inconsistency=wrong))
        return run

    return Call(
        asked=f"read test run {run_id}",
        method="GET",
        path=f"/api/test-runs/{run_id}",
        read=read,
        run_id=run_id,
    )


def cancel_test_run(run_id: int, *, reason: str | None = None) -> Call[str]:
    """Cancel a run. The service goes on to cancel it after it has answered."""
    run_id = checks.whole_number("run_id", run_id, at_least=1)

    def read(answer: Any) -> str:
        return answers.text(answers.mapping(answer, "the answer"), "message") or ""

    return Call(
        asked=f"cancel test run {run_id}",
        method="POST",
        path=f"/api/test-runs/{run_id}/cancel",
        read=read,
        body={} if reason is None else {"reason": checks.text("reason", reason)},
        run_id=run_id,
    )


def list_test_runs(page: int, **filters: Any) -> Call[RunList]:
    """Read one page of runs, newest first."""
    params = _list_params(filters)
    per_page = int(params["per_page"])

    def read(answer: Any) -> RunList:
        items, slug = _listed(answer)
        runs = tuple(
            replace(answers.test_run(answers.mapping(item, where), where), project_slug=slug)
            for place, item in enumerate(items)
            for where in [f"data.test_runs.items[{place}]"]
        )
        return RunList(runs=runs, more=_more(answer, page, len(runs) >= per_page))

    return Call(
        asked="list the test runs",
        method="GET",
        path="/api/test-runs",
        read=read,
        params={**params, "page": page},
    )


def _listed(answer: Any) -> tuple[list[Any], str | None]:
    """Return the items of a page of runs, and the slug of their project."""
    data = answers.data_of(answer)
    holder = answers.mapping(data.get("test_runs"), "data.test_runs")
    project = data.get("project")
    slug = answers.text(project, "slug") if isinstance(project, Mapping) else None
    return answers.array(holder.get("items"), "data.test_runs.items"), slug


def look_at_runs(page: int, wanted: Container[int], *, only: int | None = None) -> Call[Sighting]:
    """Read one page of the run list for what it tells of some runs.

    It is read for many at once, so that an item which cannot be read is a run in an unknown state:
    who wants to know asks for it by itself.

    Args:
        page: Number of the page, from 1.
        wanted: The runs.
        only: Filter for the one run with this id, which a service may ignore; None: all runs.
    """

    def read(answer: Any) -> Sighting:
        items, slug = _listed(answer)
        rows = [row for row in items if isinstance(row, Mapping)]
        ids = [run_id for row in rows if (run_id := answers.integer(row, "id")) is not None]
        runs: dict[int, TestRun] = {}
        for row in rows:
            run_id = answers.integer(row, "id")
            if run_id is None or run_id not in wanted:
                continue
            run = TestRun(id=run_id, state=TestRunState("unknown"))
            with suppress(answers.Unreadable):
                run = answers.test_run(row, "data.test_runs.items")
            runs[run_id] = replace(run, project_slug=slug)
        return Sighting(
            runs=runs,
            oldest=min(ids, default=0),
            more=_more(answer, page, len(items) >= MOST_PER_PAGE),
            newest_first=ids == sorted(ids, reverse=True),
        )

    return Call(
        asked="list the test runs",
        method="GET",
        path="/api/test-runs",
        read=read,
        params={
            **({} if only is None else {"id": only}),
            "per_page": MOST_PER_PAGE,
            "page": page,
        },
    )


def _more(answer: Any, page: int, is_full: bool) -> bool:
    """Say whether a page may follow, by what the answer tells or else by whether it is full."""
    pagination = answer.get("pagination")
    pages = answers.integer(pagination, "total_pages") if isinstance(pagination, Mapping) else None
    return is_full if pages is None else page < pages


_STATES = [state.value for state in TestRunState]


def _list_params(filters: Mapping[str, Any]) -> dict[str, str | int]:
    """Check the filters of the run list and write them the way the query wants them."""
    params: dict[str, str | int] = {}
    for name, value in filters.items():
        if value is None:
            continue
        if name in {"per_page", "interval_in_days"}:
            params[name] = checks.whole_number(name, value, at_least=1)
        elif name == "environment_ids":
            params[name] = ",".join(map(str, checks.list_of_ids(name, value)))
        elif name == "state":
            params[name] = checks.one_of(name, value, _STATES)
        elif name == "result":
            params[name] = checks.one_of(name, value, ("passed", "failed"))
        else:
            params[name] = checks.line(name, value, longest=_LONGEST_FILTER)
    if int(params["per_page"]) > MOST_PER_PAGE:
        raise InvalidRequestError(
            f"per_page must be at most {MOST_PER_PAGE}, not {params['per_page']}."
        )
    return params
