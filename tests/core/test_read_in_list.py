"""What a verdict needs beside the run's own page: its commit, and the run that took its place.

The service here is a function of the request, without a network. It can ignore the filter of its
list, put the run on a later page, and fail in each of the ways in which a list can.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from empirical_provider import (
    EmpiricalError,
    GatePolicy,
    InvalidRequestError,
    TestRun,
    TestRunRequest,
    TestRunState,
)
from empirical_provider.expected_commit import afind_commit, find_commit
from empirical_provider.outcomes import failure_of, result_of
from empirical_provider.receiving import Answer
from empirical_provider.verdict import judge
from empirical_provider.wait_options import WaitOptions, commit_to_expect
from tests.core.simulation import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from empirical_provider.endpoints import Call
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging")
RUN_ID = 500
TESTED = "3f786850e387550fdab836ed7e6dc881de23001b"
OTHER = "89e6c98d92887913cadf06b2adb97f26cde4849b"


@dataclass
class Service:
    """Answers requests for the list and for pages of runs.

    Args:
        items: The list, in its order.
        pages: What a request for a run by its id gets: a body, or a status.
        by_id: What it makes of the filter by id: ``kept``, ``ignored``, ``rejected`` or ``empty``.
        fault: A status, or a body that is sent instead of the list; an exception is raised.
    """

    items: list[Any] = field(default_factory=list)
    pages: dict[int, Any] = field(default_factory=dict)
    by_id: str = "kept"
    fault: Any = None
    asked: list[Call[Any]] = field(default_factory=list)

    def _send(self, call: Call[Any], *, retry_for: float | None = None) -> Any:
        assert retry_for == 0
        self.asked.append(call)
        assert len(self.asked) < 50
        found = self._page(call) if call.run_id else self._list(dict(call.params or {}))
        if isinstance(found, Exception):
            raise failure_of(SETTINGS, call, found)
        status, body = (found, {}) if isinstance(found, int) else (200, found)
        return result_of(SETTINGS, call, Answer(status, {}, json.dumps(body).encode()))

    def _page(self, call: Call[Any]) -> Any:
        found = self.pages.get(call.run_id or 0, 404)
        if isinstance(found, (int, Exception)):
            return found
        return {"data": {"test_run": {"testRun": {"id": call.run_id, **found}}}}

    def _list(self, params: dict[str, Any]) -> Any:
        if self.fault is not None:
            return self.fault
        items = self.items
        if "id" in params:
            if self.by_id == "rejected":
                return 422
            if self.by_id == "empty":
                items = []
            if self.by_id == "kept":
                items = [row for row in items if row["id"] == params["id"]]
        size, page = params.get("per_page", 20), params["page"]
        shown = items[(page - 1) * size : page * size]
        return {
            "data": {"test_runs": {"items": shown}},
            "pagination": {"page": page, "total_pages": -(-len(items) // size)},
        }


class AsyncService(Service):
    """The same for async clients."""

    async def _send(self, call: Call[Any], *, retry_for: float | None = None) -> Any:
        return super()._send(call, retry_for=retry_for)


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Callable[..., TestRun]:
    """Return a function that looks up what is missing of a run, by either client."""

    def look(service: Service, run: TestRun, expected: str | None = TESTED) -> TestRun:
        if request.param == "sync":
            return find_commit(service, run, expected)  # type: ignore[arg-type]
        twin: Any = AsyncService(service.items, service.pages, service.by_id, service.fault)
        twin.asked = service.asked
        return asyncio.run(afind_commit(twin, run, expected))

    return look


def ended(**fields: Any) -> TestRun:
    given = {"state": TestRunState.ENDED, "total_count": 3, "failed_count": 0, **fields}
    return TestRun(id=RUN_ID, **given)


def listed(*before: int, commit: Any = OTHER, after: int = 3) -> list[dict[str, Any]]:
    """Return a list, newest first: so many newer runs, the run, and some older ones."""
    newer = [{"id": RUN_ID + number} for number in range(sum(before), 0, -1)]
    older = [{"id": RUN_ID - number, "commit": TESTED} for number in range(1, after + 1)]
    return [*newer, {"id": RUN_ID, "state": "ended", "commit": commit}, *older]


TROUBLE: dict[str, dict[str, Any]] = {
    **{f"status {status}": {"fault": status} for status in (500, 502, 429, 401, 402, 403, 404)},
    "a dropped connection": {"fault": httpx.ReadError("lost")},
    "no connection": {"fault": httpx.ConnectError("refused")},
    "an empty object": {"fault": {}},
    "no object": {"fault": []},
    "no list": {"fault": {"data": {"test_runs": {"items": {}}}}},
    "no runs": {"fault": {"data": {"test_runs": {"items": []}}}},
    "rows that are none": {"fault": {"data": {"test_runs": {"items": [None, 5, "x"]}}}},
    "only newer runs": {"items": listed(5)[:5]},
    "only older runs": {"items": listed(0)[1:]},
    "newer and older runs": {"items": [row for row in listed(5) if row["id"] != RUN_ID]},
    **{
        f"the commit is {value!r}": {"items": listed(commit=value)}
        for value in (7, 1234567, 1.5, True, False, [], [OTHER], {}, {"sha": OTHER})
    },
}


@pytest.mark.parametrize("by_id", ["kept", "ignored", "empty", "rejected"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_commit_that_cannot_be_read_is_a_failed_poll(
    trouble: str, by_id: str, find: Callable[..., TestRun]
) -> None:
    """Where no response says which commit was tested, and none says that there is none, an error
    reaches the wait: no run comes back that could be taken for one without a commit."""
    with pytest.raises(EmpiricalError) as error:
        find(Service(by_id=by_id, **TROUBLE[trouble]), ended())
    if trouble not in {"status 404", "status 402"}:
        assert not isinstance(error.value, InvalidRequestError)


@pytest.mark.parametrize("by_id", ["kept", "ignored", "empty", "rejected"])
@pytest.mark.parametrize("newer", [0, 1, 99, 100, 101, 350])
def test_the_run_is_found_wherever_it_is(
    newer: int, by_id: str, find: Callable[..., TestRun]
) -> None:
    """By the filter, or down to its own place on whatever page, and no further."""
    service = Service(items=listed(newer, after=500), by_id=by_id)
    assert find(service, ended()).commit == OTHER
    pages = 1 + newer // 100
    most = {"kept": 1, "ignored": pages, "empty": 1 + pages, "rejected": 1 + pages}
    assert len(service.asked) == most[by_id]


@pytest.mark.parametrize("by_id", ["ignored", "rejected"])
def test_a_list_that_is_not_newest_first_is_read_on(
    by_id: str, find: Callable[..., TestRun]
) -> None:
    """An older run above it does not prove that the run is not in the list."""
    items = [*listed(0, after=150)[1:], {"id": RUN_ID, "commit": OTHER}]
    items.insert(0, {"id": 3})
    assert find(Service(items=items, by_id=by_id), ended()).commit == OTHER


@pytest.mark.parametrize("commit", [None, "", "  "])
def test_a_run_that_was_read_and_reports_no_commit_goes_uncompared(
    commit: str | None, find: Callable[..., TestRun]
) -> None:
    """Only this run does: neither its page nor the list says which commit was tested."""
    found = find(Service(items=listed(2, commit=commit)), ended())
    assert judge(found, GatePolicy(), expect_commit=TESTED).outcome == "passed"
    absent = [{"id": RUN_ID, "state": "ended"}]
    found = find(Service(items=absent), ended())
    assert judge(found, GatePolicy(), expect_commit=TESTED).outcome == "passed"


def test_a_page_whose_commit_is_no_string_reports_one(find: Callable[..., TestRun]) -> None:
    """A page that says something which cannot be read does not count as a page without a commit;
    a list that says it in a readable way does."""
    unclear = ended(shown=frozenset({"commit"}), invalid=frozenset({"commit"}))
    with pytest.raises(EmpiricalError, match="commit"):
        find(Service(items=listed(commit=None)), unclear)
    assert find(Service(items=listed(commit=OTHER)), unclear).commit == OTHER


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (ended(), None),
        (ended(commit=TESTED), OTHER),
        (ended(state=TestRunState.STARTED), OTHER),
        (ended(state=TestRunState.ERROR), OTHER),
        (ended(state=TestRunState.CANCELLED), OTHER),
    ],
)
def test_nothing_is_asked_that_no_verdict_needs(
    run: TestRun, expected: str | None, find: Callable[..., TestRun]
) -> None:
    """No commit is expected or it is known already, or there is no result to compare."""
    service = Service(fault=500)
    assert find(service, run, expected) == run
    assert service.asked == []


LATER = "2026-11-30T10:00:05.000Z"
NEWER = {"state": "started", "created_at": LATER, "rerun_source_id": None}


@pytest.mark.parametrize(
    ("named", "page", "outcome"),
    [
        (RUN_ID + 1, NEWER, "superseded"),
        (RUN_ID + 1, {"state": "ended"}, "superseded"),
        (RUN_ID + 1, {**NEWER, "rerun_source_id": RUN_ID - 7}, "superseded"),
        (RUN_ID + 1, {"state": "ended", "total_count": -1}, "superseded"),
        (RUN_ID + 1, {**NEWER, "rerun_source_id": RUN_ID}, "cancelled"),
        (RUN_ID + 2, {**NEWER, "rerun_source_id": RUN_ID + 1}, "cancelled"),
        (RUN_ID + 1, {**NEWER, "rerun_source_id": str(RUN_ID)}, "cancelled"),
        (RUN_ID + 1, {**NEWER, "created_at": "2020-01-01T00:00:00Z"}, "cancelled"),
        (RUN_ID + 1, 404, "cancelled"),
        (RUN_ID + 1, 403, "cancelled"),
        (RUN_ID - 1, NEWER, "cancelled"),
        (RUN_ID, NEWER, "cancelled"),
        (0, NEWER, "cancelled"),
        (-5, NEWER, "cancelled"),
        (None, NEWER, "cancelled"),
    ],
)
@pytest.mark.parametrize("expected", [None, TESTED])
def test_superseded_only_by_a_newer_run_that_can_be_read(
    named: int | None,
    page: Any,
    outcome: str,
    expected: str | None,
    find: Callable[..., TestRun],
) -> None:
    """The run that is named was read, is newer, and repeats neither this run nor a later one: else
    the run was just cancelled."""
    run = ended(
        state=TestRunState.CANCELLED,
        superseded_by_test_run_id=named,
        created_at="2026-11-30T10:00:00.000Z",
    )
    found = find(Service(pages={named or 0: page}), run, expected)
    assert judge(found, GatePolicy(), expect_commit=expected).outcome == outcome


@pytest.mark.parametrize(
    "page", [500, 401, 429, httpx.ReadError("lost"), {"id": RUN_ID + 9}, {"id": "x"}]
)
def test_a_page_that_cannot_be_read_now_is_a_failed_poll(
    page: Any, find: Callable[..., TestRun]
) -> None:
    """Nothing is known of the run that is named: it is asked for again at the next poll."""
    run = ended(state=TestRunState.CANCELLED, superseded_by_test_run_id=RUN_ID + 1)
    with pytest.raises(EmpiricalError):
        find(Service(pages={RUN_ID + 1: page}), run, None)


def test_a_run_that_nobody_has_looked_up_is_not_superseded() -> None:
    """The number alone, as a page shows it, proves nothing."""
    run = ended(state=TestRunState.CANCELLED, superseded_by_test_run_id=RUN_ID + 1)
    assert judge(run, GatePolicy()).outcome == "cancelled"


# One rule for abbreviations


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (TESTED, TESTED, True),
        (TESTED, TESTED.upper(), True),
        (TESTED, f" {TESTED[:7]}\t", True),
        (TESTED[:8], TESTED[:12], True),
        (TESTED[:7], "a" * 7, False),
        (TESTED, OTHER, False),
        (TESTED, TESTED[:6], False),
        (TESTED, TESTED[1:], False),
        ("v1.10.1", "v1.10.10", False),
        ("v1.10.10", "v1.10.10", True),
        ("release-2026", "release-2026-11", False),
        ("1.10.100", "1.10.1001", False),
        ("deadbeef", "deadbeefs", False),
        ("feature", "feature-of-the-month", False),
    ],
)
def test_only_hexadecimal_shas_are_abbreviated(one: str, other: str, same: bool) -> None:
    """Seven characters or more of a hash stand for the whole; a version is no hash."""
    for tested, expected in ((one, other), (other, one)):
        verdict = judge(ended(commit=tested), GatePolicy(), expect_commit=expected)
        assert verdict.outcome == ("passed" if same else "wrong_commit")


SHORT = ["3f7868", "abc123", "1234", "0", "DEAD", " f00d "]


@pytest.mark.parametrize("given", SHORT)
def test_a_short_hash_is_rejected_at_once(given: str, empirical: Emulator, ask: Twin) -> None:
    """Fewer than seven characters tell no commits apart: the message says so, nothing is asked."""
    for check in (
        lambda: commit_to_expect(given),
        lambda: commit_to_expect(given=True, build={"commit": given}),
        lambda: WaitOptions(expect_commit=given),
        lambda: ask.wait_for_test_run(1, expect_commit=given),
    ):
        with pytest.raises(InvalidRequestError, match="at least 7 characters"):
            check()
    assert empirical.requests == []


@pytest.mark.parametrize("given", ["3f78685", "v1.2", "main", "r2d2", TESTED, "release"])
def test_what_is_no_short_hash_is_taken(given: str) -> None:
    """Seven characters, and every text that is not hexadecimal."""
    assert commit_to_expect(given) == given
    assert commit_to_expect(given=True, build={"commit": given}) == given
    assert WaitOptions(expect_commit=given).expect_commit == given


# Through a wait


@pytest.mark.parametrize("effect", ["status", "drop", "malformed", "html", "truncated"])
def test_the_wait_asks_again_until_the_list_can_be_read(
    effect: str, empirical: Emulator, ask: Twin
) -> None:
    """Three polls fail, and the verdict is the one that the list then leads to."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    empirical.script("staging", "passed", commit=OTHER)
    run_id = ask("trigger", STAGING).id
    status = {"status": 500} if effect == "status" else {}
    empirical.fault("list_test_runs", effect, times=3, **status)
    verdict = ask.wait_for_test_run(run_id, expect_commit=TESTED)
    assert verdict.outcome == "wrong_commit"


@pytest.mark.parametrize("effect", ["status", "drop", "malformed"])
def test_at_its_deadline_the_wait_says_what_could_not_be_read(
    effect: str, empirical: Emulator, ask: Twin
) -> None:
    """The list stays away: the gate stays closed, and the verdict names the request."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = ask("trigger", STAGING).id
    status = {"status": 500} if effect == "status" else {}
    empirical.fault("list_test_runs", effect, times=None, **status)
    verdict = ask.wait_for_test_run(run_id, expect_commit=TESTED, timeout=60)
    assert (verdict.outcome, verdict.is_closed) == ("timed_out", True)
    assert "Could not list the test runs" in verdict.summary
