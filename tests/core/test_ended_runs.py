"""Which runs have ended since the last look: each is told once to every watcher."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from empirical_provider import (
    EmpiricalError,
    InvalidRequestError,
    TestRun,
    TestRunRequest,
    TestRunState,
    UnreadableAnswerError,
)
from empirical_provider.driving import drive
from empirical_provider.end_events import EndFilter
from empirical_provider.ended_runs import Cursor, Look, _steps
from empirical_provider.outcomes import result_of
from empirical_provider.receiving import Answer
from tests.core.simulation import FAULTS, SETTINGS, Service
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from empirical_provider.emulator import Emulator
    from empirical_provider.endpoints import Call
    from tests.core.conftest import Twin

BODY = {"environment": "staging"}


def look_at(
    service: Service,
    cursors: Sequence[Cursor | None] = (None,),
    fault: str | None = None,
    bad: Container[int | None] = (),
) -> Look:
    """Take a look, with a fault of all requests or of those about bad runs."""

    def perform(call: Call[Any]) -> Any:
        return service.perform(call, "500 before" if call.run_id in bad else fault)

    return drive(_steps(tuple(cursors)), perform)


def trigger(empirical: Emulator, ask: Twin, outcome: str = "stuck") -> int:
    empirical.script("staging", outcome=outcome)
    run_id: int = ask.trigger_test_run(TestRunRequest(environment="staging")).id
    return run_id


def test_each_end_is_told_once(empirical: Emulator, ask: Twin) -> None:
    """What ended before the first look is past; what ends later is news once, with its tests."""
    before, later = trigger(empirical, ask), trigger(empirical, ask)
    empirical.set_state(before, "ended")
    cursor = Cursor.start(ask.look_for_ended_runs([None]))
    assert cursor.news(ask.look_for_ended_runs([cursor])) == []
    empirical.set_state(later, "cancelled")
    newest = trigger(empirical, ask, "failed")
    empirical.set_state(newest, "ended")
    look = ask.look_for_ended_runs([cursor])
    news = cursor.news(look)
    assert [(run.id, run.state) for run in news] == [(later, "cancelled"), (newest, "ended")]
    assert any(test.status == "failed" for test in news[1].tests)
    assert str(newest) in (news[1].url or "")
    after = cursor.after(look)
    assert after.news(ask.look_for_ended_runs([after])) == []
    assert Cursor.of(json.loads(json.dumps(after.as_dict()))) == after


def test_only_what_may_be_news_is_read_alone(empirical: Emulator, ask: Twin) -> None:
    """A look costs one list, and one request for each run that has ended since."""
    ids = [trigger(empirical, ask) for _ in range(5)]
    cursor = Cursor.start(ask.look_for_ended_runs([None]))
    empirical.set_state(ids[2], "ended")
    began = len(empirical.requests)
    cursor = cursor.after(ask.look_for_ended_runs([cursor]))
    cursor.after(ask.look_for_ended_runs([cursor]))
    paths = [
        request.path for request in empirical.requests[began:] if "projects" not in request.path
    ]
    assert paths == ["/api/test-runs", f"/api/test-runs/{ids[2]}", "/api/test-runs"]


def test_a_deleted_run_is_asked_for_once(empirical: Emulator, ask: Twin) -> None:
    """A run that is gone is no news, and is not looked for for ever."""
    run_id = trigger(empirical, ask)
    cursor = Cursor.start(ask.look_for_ended_runs([None]))
    empirical.delete_run(run_id)
    look = ask.look_for_ended_runs([cursor])
    assert (cursor.news(look), look.gone) == ([], frozenset({run_id}))
    assert cursor.after(look).open == frozenset()


def test_a_run_that_is_in_the_list_is_not_gone(empirical: Emulator, ask: Twin) -> None:
    """The end of a run is told after one 404 from a service whose list has just shown the run."""
    run_id = trigger(empirical, ask)
    cursor = Cursor.start(ask.look_for_ended_runs([None]))
    empirical.set_state(run_id, "ended")
    empirical.fault("get_test_run", "status", status=404)
    look = ask.look_for_ended_runs([cursor])
    assert cursor.news(look) == []
    cursor = cursor.after(look)
    assert [run.id for run in cursor.news(ask.look_for_ended_runs([cursor]))] == [run_id]


def _without(names: set[str], answer: Any) -> Any:
    """Take fields out of the items of a list."""
    items = answer["data"]["test_runs"]["items"]
    kept = [{name: item[name] for name in item.keys() - names} for item in items]
    return {**answer, "data": {"test_runs": {"items": kept}}}


def test_a_list_that_tells_no_states_makes_no_false_news() -> None:
    """Where a list leaves the states out, the runs are read: old ends are past, new ones news."""
    service = Service()
    old, open_one = (service.state.trigger(dict(BODY)).id for _ in range(2))
    service.state.force(old, "ended")

    def perform(call: Call[Any]) -> Any:
        if call.path == "/api/test-runs":
            return call.read(_without({"state"}, service._result(call)))
        return service.perform(call)

    cursor = Cursor.start(drive(_steps((None,)), perform))
    assert (cursor.told, cursor.open) == ({old}, {open_one})
    service.state.force(open_one, "ended")
    assert [run.id for run in cursor.news(drive(_steps((cursor,)), perform))] == [open_one]


def test_a_first_look_that_does_not_tell_all_is_none() -> None:
    """Where the first look cannot read a run whose state it needs, it fails: no end is new later
    that was there from the beginning."""
    service = Service()
    service.state.force(service.state.trigger(dict(BODY)).id, "ended")

    def perform(call: Call[Any]) -> Any:
        if call.path == "/api/test-runs":
            return call.read(_without({"state"}, service._result(call)))
        return service.perform(call, "500 before")

    with pytest.raises(EmpiricalError, match="answered 500"):
        drive(_steps((None,)), perform)


def test_a_run_that_takes_its_time_is_told() -> None:
    """The end of a run is told when it is on no page of the list any more that a look reads."""
    service = Service()
    slow = service.state.trigger(dict(BODY)).id
    cursor = Cursor.start(look_at(service))
    for _ in range(150):
        service.turn(60)
        service.state.force(service.state.trigger(dict(BODY)).id, "ended")
    for _ in range(3):
        cursor = cursor.after(look_at(service, [cursor]))
    assert (cursor.floor > slow, cursor.open) == (True, {slow})
    service.state.force(slow, "ended")
    assert [run.id for run in cursor.news(look_at(service, [cursor]))] == [slow]


def test_a_run_that_is_listed_after_a_newer_one_is_told() -> None:
    """An end is told although the list shows the run only some looks after a newer one."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    late, newer = (service.state.trigger(dict(BODY)).id for _ in range(2))
    for each in (late, newer):
        service.state.force(each, "ended")

    def perform(call: Call[Any]) -> Any:
        answer = service._result(call)
        if call.path == "/api/test-runs":
            items = answer["data"]["test_runs"]["items"]
            answer["data"]["test_runs"]["items"] = [row for row in items if row["id"] != late]
        return call.read(answer)

    look = drive(_steps((cursor,)), perform)
    assert [run.id for run in cursor.news(look)] == [newer]
    cursor = cursor.after(look)
    assert [run.id for run in cursor.news(look_at(service, [cursor]))] == [late]


def test_an_item_that_cannot_be_read_is_read_alone() -> None:
    """An end is told although the list's item of the run makes no sense."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    run = service.state.trigger(dict(BODY))
    service.state.force(run.id, "ended")

    def perform(call: Call[Any]) -> Any:
        if call.path == "/api/test-runs":
            answer = service._result(call)
            answer["data"]["test_runs"]["items"][0]["environment_variables_overrides"] = 7
            answer["data"]["test_runs"]["items"][0]["state"] = ["ended"]
            return call.read(answer)
        return service.perform(call)

    assert [each.id for each in cursor.news(drive(_steps((cursor,)), perform))] == [run.id]


def test_runs_that_are_never_readable_keep_nobody_else_back() -> None:
    """An end is told after any number of runs whose answers cannot be believed."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    runs = [service.state.trigger(dict(BODY)) for _ in range(5)]
    for run in runs:
        service.state.force(run.id, "ended")

    def perform(call: Call[Any]) -> Any:
        body = json.dumps(service._result(call)).encode()
        if call.run_id not in (None, runs[-1].id):
            body = body.replace(b'"total_count": ', b'"total_count": -')
        return result_of(SETTINGS, call, Answer(200, {}, body))

    look = drive(_steps((cursor,)), perform)
    assert [run.id for run in cursor.news(look)] == [runs[-1].id]
    assert cursor.after(look).open == {run.id for run in runs[:-1]}


def seen_and_ended(service: Service, cursor: Cursor, count: int) -> tuple[list[int], Cursor]:
    """Have runs that somebody has seen going on, and that have ended since."""
    ids = [service.state.trigger(dict(BODY)).id for _ in range(count)]
    cursor = cursor.after(look_at(service, [cursor]))
    for run_id in ids:
        service.state.force(run_id, "ended")
    return ids, cursor


def test_runs_that_fail_each_time_keep_nobody_else_back() -> None:
    """Ends of older runs and of newer ones are told within some looks, although five runs between
    them answer 500 each time; and those are told as soon as they answer."""
    service = Service()
    ids, cursor = seen_and_ended(service, Cursor.start(look_at(service)), 9)
    bad, told = ids[1:6], []
    for _ in range(100):  # one of them has an even chance in each
        look = look_at(service, [cursor], bad=bad)
        told += [run.id for run in cursor.news(look)]
        cursor = cursor.after(look)
    assert sorted([*told, *bad]) == ids
    assert [run.id for run in cursor.news(look_at(service, [cursor]))] == bad


def test_failures_between_successes_do_not_end_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that answers now and then is asked for all: only failures in a row tell of it."""
    monkeypatch.setattr("random.shuffle", list.sort)
    service = Service()
    ids, cursor = seen_and_ended(service, Cursor.start(look_at(service)), 10)
    news = cursor.news(look_at(service, [cursor], bad=ids[::2]))
    assert [run.id for run in news] == ids[1::2]


def test_a_service_in_trouble_is_left_alone(empirical: Emulator, ask: Twin) -> None:
    """Where no run can be read three of ten are tried; the next look makes up for it."""
    ids = [trigger(empirical, ask) for _ in range(10)]
    cursor = Cursor.start(ask.look_for_ended_runs([None]))
    for run_id in ids:
        empirical.set_state(run_id, "ended")
    empirical.fault("get_test_run", "status", status=500, times=3)
    began = len(empirical.requests)
    assert cursor.news(ask.look_for_ended_runs([cursor])) == []
    assert sum(each.endpoint == "get_test_run" for each in empirical.requests[began:]) == 3
    assert [run.id for run in cursor.news(ask.look_for_ended_runs([cursor]))] == ids


def test_who_begins_is_not_kept_back_by_others_runs() -> None:
    """A watcher begins with a look in which runs fail that only the others wait for, and these hear
    what it has for them."""
    service = Service()
    ids, cursor = seen_and_ended(service, Cursor.start(look_at(service)), 3)
    look = look_at(service, [cursor, None], bad=ids[:2])
    assert [run.id for run in cursor.news(look)] == ids[2:]
    assert look.serves(None)
    assert Cursor.start(look).news(look_at(service, [cursor, None])) == []


def test_who_cannot_begin_yet_keeps_nobody_back() -> None:
    """Where the list tells no states and an old run cannot be read, a new watcher waits, and the
    others hear their news even so."""
    service = Service()
    old = service.state.trigger(dict(BODY)).id
    service.state.force(old, "ended")
    ids, cursor = seen_and_ended(service, Cursor.start(look_at(service)), 1)

    def perform(call: Call[Any]) -> Any:
        if call.path == "/api/test-runs":
            return call.read(_without({"state"}, service._result(call)))
        return service.perform(call, "500 before" if call.run_id == old else None)

    look = drive(_steps((cursor, None)), perform)
    assert [run.id for run in cursor.news(look)] == ids
    assert not look.serves(None)
    assert look_at(service, [cursor, None]).serves(None)


def test_a_list_without_end_is_an_error() -> None:
    """A service that shows the same full page for ever is not read for ever."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    service.state.trigger(dict(BODY))

    def perform(call: Call[Any]) -> Any:
        first = service._result(replace(call, params={**call.params, "page": 1}))
        return call.read({**first, "pagination": {"total_pages": 10**9}})

    with pytest.raises(UnreadableAnswerError, match="no end in 1000 pages"):
        drive(_steps((cursor,)), perform)


def test_the_first_day_of_the_calendar_is_a_day() -> None:
    """Moments next to which there is no earlier one settle nothing, and harm nothing."""
    first = run_of(1, created_at="0001-01-01T00:00:00Z")
    look = Look(listed={1: first}, since=0, ended={})
    assert Cursor.start(look).floor == 0


def test_what_the_detail_leaves_out_is_taken_from_the_list() -> None:
    """The environment is told although only the list is known to show its slug."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    run = service.state.trigger(dict(BODY))
    service.state.force(run.id, "ended")

    def perform(call: Call[Any]) -> Any:
        answer = service._result(call)
        if call.path != "/api/test-runs":
            del answer["data"]["test_run"]["testRun"]["environment_slug"]
        return call.read(answer)

    assert cursor.news(drive(_steps((cursor,)), perform))[0].environment == "staging"


def test_a_look_serves_those_it_was_taken_for() -> None:
    """A look that does not read back to a watcher's cursor, or leaves out what has ended before, is
    none for that watcher; one that happens to reach is."""
    service = Service()
    early = Cursor.start(look_at(service))
    for _ in range(5):
        service.turn(600)
        service.state.force(service.state.trigger(dict(BODY)).id, "ended")
    late = Cursor.start(look_at(service))
    assert early.floor < late.floor
    everybody = (None, early, late)
    for asked, served in [
        ([late], [late]),
        ([early], [early, late]),
        ([late, early], [early, late]),
        ([late, None], [None, early, late]),  # its page shows all
    ]:
        look = look_at(service, asked)
        assert [each for each in everybody if look.serves(each)] == served


def test_an_old_cursor_reads_on_to_where_it_was() -> None:
    """After 250 further runs the pages are read back to the cursor; nothing in between is lost."""
    service = Service()
    cursor = Cursor.start(look_at(service))
    ids = []
    for _ in range(250):
        service.turn(60)
        ids.append(service.state.trigger(dict(BODY)).id)
        service.state.force(ids[-1], "ended")
    look = look_at(service, [cursor])
    assert [run.id for run in cursor.news(look)] == ids
    after = cursor.after(look)
    assert after.floor == ids[-7]  # five minutes before the newest, and not less
    assert after.told == {*ids[-6:]}


class Watcher:
    """Who is told of ends; it saves its cursor, and loses the rest when it crashes."""

    def __init__(self) -> None:
        self.cursor: Cursor | None = None
        self.saved: Any = None
        self.told: list[int] = []
        self.past: set[int] = set()
        self.is_away = False

    def crash(self) -> None:
        self.cursor = None if self.saved is None else Cursor.of(json.loads(self.saved))

    def hear(self, look: Look, past: set[int]) -> None:
        if not look.serves(self.cursor):
            return
        if self.cursor is None:
            self.cursor = Cursor.start(look)
            self.past = past
        else:
            self.told += [run.id for run in self.cursor.news(look)]
            self.cursor = self.cursor.after(look)
        self.saved = json.dumps(self.cursor.as_dict())


class World:
    """A service, watchers that share their looks, and what may happen to them."""

    def __init__(self, list_lag: float, before: int) -> None:
        self.service = Service(list_lag=list_lag)
        self.bad: set[int] = set()
        self.watchers = [Watcher(), Watcher()]
        for _ in range(before):
            self.end(400)
        self.service.turn(list_lag + 1)

    def join(self) -> None:
        self.watchers.append(Watcher())

    def trigger(self, pause: int) -> None:
        self.service.turn(pause)
        self.service.state.trigger(dict(BODY))

    def end(self, pause: int) -> None:
        self.service.turn(pause)
        self.service.state.force(self.service.state.trigger(dict(BODY)).id, "ended")

    def move(self, which: int, state: str) -> None:
        going_on = [run for run in self.service.runs if run.state not in {"ended", "error"}]
        if going_on:
            self.service.state.force(going_on[which % len(going_on)].id, state)

    def crash(self, which: int) -> None:
        self.watchers[which % len(self.watchers)].crash()

    def spoil(self, which: int) -> None:
        """Let a run fail whenever it is read, until all are mended."""
        if self.service.runs:
            self.bad.add(self.service.runs[which % len(self.service.runs)].id)

    def mend(self) -> None:
        self.bad.clear()

    def leave(self, which: int) -> None:
        self.watchers[which % len(self.watchers)].is_away = True

    def all_return(self) -> None:
        for each in self.watchers:
            each.is_away = False

    def look(self, fault: str | None, meanwhile: str | None = None) -> None:
        """Take a look; before anybody hears of it some may join, or come back."""
        cursors = [each.cursor for each in self.watchers if not each.is_away]
        everything = look_at(self.service).listed.values()
        past = {run.id for run in everything if run.state.is_terminal}
        try:
            seen = look_at(self.service, cursors, fault, self.bad)
        except EmpiricalError:
            return
        if meanwhile is not None:
            getattr(self, meanwhile)()
        for each in self.watchers:
            if not each.is_away:
                each.hear(seen, past)


HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("trigger"), st.integers(0, 400)),
        st.tuples(st.just("end"), st.just(400)),
        st.tuples(st.just("move"), st.integers(0, 9), st.sampled_from(["started", "ended"])),
        st.tuples(
            st.just("look"),
            st.sampled_from([None, None, None, *FAULTS]),
            st.sampled_from([None, "join", "all_return"]),
        ),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("spoil"), st.integers(0, 9)),
        st.tuples(st.just("mend")),
        st.tuples(st.just("crash"), st.integers(0, 9)),
        st.tuples(st.just("join")),
    ),
    max_size=60,
)


OPEN, END, SEEN = ("trigger", 0), ("end", 400), ("look", None, None)
JOINED = [OPEN, END, END, SEEN, ("look", None, "join"), SEEN, ("move", 0, "ended")]
RETURNED = [SEEN, ("leave", 0), END, END, SEEN, END, ("look", None, "all_return")]


@example(JOINED, 0.0, 0)
@example(RETURNED, 0.0, 0)
@settings(max_examples=examples(300), deadline=None)
@given(HISTORY, st.sampled_from([0.0, 100.0]), st.integers(0, 3))
def test_any_history_is_told_once(history: list[Any], list_lag: float, before: int) -> None:
    """Over random runs, pauses, faults, crashes and lagging lists, every watcher, also one that
    joins or comes back while a look is under way, hears of each end that came after its first
    look, exactly once."""
    world = World(list_lag, before)
    for what, *how in history:
        getattr(world, what)(*how)
    world.service.turn(list_lag + 1)
    world.all_return()
    world.mend()
    world.look(None)
    world.look(None)  # the first one of who has joined last
    ends = {run.id for run in world.service.runs if run.state == "ended"}
    for each in world.watchers:
        assert sorted(each.told) == sorted(ends - each.past)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cursor must be a mapping, not None"),
        ({}, "cursor.floor must be an integer"),
        ({"told": [7], "open": [8]}, "cursor.floor must be an integer"),
        ({"floor": -1, "told": [], "open": []}, "cursor.floor must be at least 0"),
        ({"floor": 1, "told": ["7"], "open": []}, "cursor.told must be an integer"),
        ({"floor": 1, "told": [], "open": 7.5}, "cursor.open must be an integer"),
    ],
)
def test_a_cursor_that_is_none_is_refused(data: Any, message: str) -> None:
    """What was stored by something else is not taken for a cursor."""
    with pytest.raises(InvalidRequestError, match=message):
        Cursor.of(data)


def run_of(run_id: int, **fields: Any) -> TestRun:
    defaults = {"environment": "staging", "branch": "main", "total_count": 3, "failed_count": 0}
    return TestRun(id=run_id, state=TestRunState.ENDED, **{**defaults, **fields})


LOOK = Look(
    listed={},
    since=0,
    ended={
        each.id: each
        for each in (
            run_of(1),
            run_of(2, failed_count=1),
            run_of(3, environment="production", branch="next"),
            run_of(4, environment=None),
        )
    },
)


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({}, [1, 2, 3, 4]),
        ({"environment": "staging"}, [1, 2]),
        ({"environment": ["staging", "production"]}, [1, 2, 3]),
        ({"branch": "next"}, [3]),
        ({"outcome": "failed"}, [2]),
        ({"outcome": ("passed", "no_tests"), "environment": "staging"}, [1]),
        ({"policy": {"min_tests": 4}, "outcome": "no_tests"}, [1, 3, 4]),
    ],
)
def test_filters(filters: Mapping[str, Any], told: list[int]) -> None:
    """Each filter lets pass what it names, and nothing of which it cannot be told."""
    events = EndFilter(**filters).events(Cursor(floor=0), LOOK)
    assert [verdict.run_id for verdict in events] == told


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"environment": []}, "environment must name at least one"),
        ({"environment": 5}, "environment must be a list of strings, not int"),
        ({"branch": [""]}, r"branch\[0\] must be a non-empty string"),
        ({"outcome": "red"}, "outcome must be passed or failed or .* not 'red'"),
        ({"outcome": "timed_out"}, "outcome must be"),
        ({"policy": {"failde": "skip"}}, "policy has the unknown key 'failde'"),
    ],
)
def test_a_bad_filter_is_refused(filters: dict[str, Any], message: str) -> None:
    """A filter that could never match is an error at once, and names its field."""
    with pytest.raises(InvalidRequestError, match=message):
        EndFilter(**filters)
