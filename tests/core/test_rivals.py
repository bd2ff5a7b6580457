"""Several runs for the same, or one that comes and goes: which of them is the one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    TestRun,
    TestRunRequest,
    TestRunState,
    TriggerOnce,
    TriggerOutcomeUnknownError,
)
from empirical_provider.rivals import winner_of, with_states
from empirical_provider.trigger_key import TriggerKey

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging", build={"commit": "abc"})


def _triggers(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("trigger")


def test_a_run_that_is_missing_for_a_moment_is_not_gone(empirical: Emulator, ask: Twin) -> None:
    """A further attempt that first gets 404 for the run it knows of starts no second one."""
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.fault("get_test_run", "status", status=404, times=3)
    second = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", saved=saved[-1]))
    assert first.id == second.id
    assert _triggers(empirical) == 1


def test_a_run_that_stays_away_is_gone(empirical: Emulator, ask: Twin) -> None:
    """A run that was deleted is started again, once it was looked for long enough."""
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.delete_run(first.id)
    ask.slept.clear()
    again = TriggerOnce(key="k", saved=saved[-1], grace=30)
    second = ask.trigger_test_run(STAGING, key=again)
    assert first.id != second.id
    assert sum(ask.slept) == 30


def test_a_search_reads_a_run_again_that_it_did_not_find(empirical: Emulator, ask: Twin) -> None:
    """A 404 for a run that the list shows says nothing about what it was started for."""
    empirical.behave(echo_in_detail={"metadata"}, echo_in_list=())
    empirical.fault("trigger", "drop", when="after")
    empirical.fault("get_test_run", "status", status=404)
    run = ask.trigger_test_run(STAGING, key="k")
    assert [run.id] == [each.id for each in empirical.runs]


def test_the_variable_is_looked_for_only_where_it_was_sent(empirical: Emulator, ask: Twin) -> None:
    """Where an attempt did not send it, and a later one would, its absence tells nothing."""
    empirical.fault("trigger", "drop", when="after")
    saved: list[Any] = []
    for in_environment in (False, True):
        once = TriggerOnce(
            key="k", key_in_environment=in_environment, saved=saved[-1] if saved else None
        )
        with pytest.raises(TriggerOutcomeUnknownError):
            ask.trigger_test_run(STAGING, key=once, save=saved.append)
    assert _triggers(empirical) == 1


def test_our_run_may_have_been_cancelled_for_another_one(empirical: Emulator, ask: Twin) -> None:
    """Where the project's limit ends a run for the next one under the key, that one counts."""
    empirical.behave(concurrency_limit="environment", list_lag_reads=1)
    empirical.script("staging", "stuck")
    others: list[int] = []

    def meanwhile(_: TestRun) -> None:
        if not others:
            others.append(0)
            with ThreadPoolExecutor() as pool:
                started = pool.submit(start)
                others[0] = started.result().id

    def start(**given: Any) -> Any:
        return ask.trigger_test_run(STAGING, key="k", key_in_environment=True, **given)

    assert [start(on_started=meanwhile).id, *others] == [2, 2]
    states = {run.id: run.state for run in empirical.runs}
    assert states[1] == "cancelled"
    assert states[2] not in {"cancelling", "cancelled"}


def test_a_run_that_is_being_cancelled_does_not_win() -> None:
    """Its verdict will not come, so that another one of the same key is taken."""
    key = TriggerKey.of("k", STAGING, api_key="k")
    ending, going = (
        TestRun(id=number, state=TestRunState(state), trigger_key=str(key.at(number)))
        for number, state in enumerate(("cancelling", "queued"), 1)
    )
    assert winner_of([ending, going])[0] is going


def test_of_runs_without_a_verdict_the_last_one_is_taken() -> None:
    """Of several under one n, too: who has just started one must not get one from before it."""
    key = str(TriggerKey.of("k", STAGING, api_key="k"))
    before, own = (TestRun(id=n, state=TestRunState.ERROR, trigger_key=key) for n in (2, 3))
    assert winner_of([own, before])[0] is winner_of([before, own])[0] is own


def test_a_run_without_a_state_is_read_before_one_wins() -> None:
    """Where a list tells no states, a run in error must not win over the one in its place."""
    key = str(TriggerKey.of("k", STAGING, api_key="k"))
    steps = with_states([TestRun(id=1, state=TestRunState("unknown"), trigger_key=key)])
    assert next(steps).path.endswith("/1")
    with pytest.raises(StopIteration) as end:
        steps.send(TestRun(id=1, state=TestRunState.ERROR))
    [run] = end.value.value
    assert (run.state, run.trigger_key) == ("error", key)
