"""The list of runs, read page by page while runs start: each run comes once, none is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import EmpiricalClient, UnreadableAnswerError
from empirical_provider.endpoints import Call, RunList

if TYPE_CHECKING:
    from collections.abc import Iterable


def listed(starts: Iterable[int], runs: int, per_page: int, *, told: bool) -> list[int]:
    """Go through a list of so many runs, of which some start between two pages; return the ids that
    come. ``told`` is whether the service tells of how many pages."""
    ids = list(range(1, runs + 1))
    between = iter(starts)

    def send(call: Call[RunList], **_: Any) -> RunList:
        page = int((call.params or {})["page"])
        newest_first = ids[::-1]
        shown = newest_first[(page - 1) * per_page : page * per_page]
        answer: dict[str, Any] = {
            "data": {"test_runs": {"items": [{"id": each, "state": "ended"} for each in shown]}}
        }
        if told:
            answer["pagination"] = {"total_pages": -(-len(ids) // per_page)}
        ids.extend(range(len(ids) + 1, len(ids) + 1 + next(between, 0)))
        return call.read(answer)

    with EmpiricalClient(api_key="key", base_url="http://127.0.0.1:1") as client:
        client._send = send
        return [run.id for run in client.list_test_runs(per_page=per_page)]


@given(
    runs=st.integers(0, 30),
    per_page=st.integers(1, 7),
    starts=st.lists(st.integers(0, 15), max_size=12),
    told=st.booleans(),
)
@settings(deadline=None)
def test_each_run_comes_once_whatever_starts_meanwhile(
    runs: int, per_page: int, starts: list[int], told: bool
) -> None:
    """All that were there at first come, newest first and each once, however many start."""
    found = listed(starts, runs, per_page, told=told)
    assert [each for each in found if each <= runs] == list(range(1, runs + 1))[::-1]
    assert len(set(found)) == len(found)


def test_a_list_that_repeats_itself_is_an_error() -> None:
    """A service that has the same page for each number is found out, and not taken for the end."""

    def send(call: Call[RunList], **_: Any) -> RunList:
        items = [{"id": each, "state": "ended"} for each in (3, 2)]
        return call.read({"data": {"test_runs": {"items": items}}})

    with EmpiricalClient(api_key="key", base_url="http://127.0.0.1:1") as client:
        client._send = send
        runs = client.list_test_runs(per_page=2)
        assert [next(runs).id, next(runs).id] == [3, 2]
        with pytest.raises(UnreadableAnswerError, match="the last 100 pages hold only runs"):
            next(runs)
