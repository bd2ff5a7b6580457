"""What a further attempt makes of the ones before: over real HTTP, with both clients."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import Outcome, TestRunRequest, TriggerOnce

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging", build={"commit": "abc"})


@pytest.fixture(autouse=True)
def _metadata_is_shown(empirical: Emulator) -> None:
    """Let the service show metadata on a run's own page, unless a test says otherwise."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail | {"metadata"})


def _triggers(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("trigger")


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("saves", [0, 1])
def test_a_crash_at_a_save_leaves_no_second_run(saves: int, empirical: Emulator, ask: Twin) -> None:
    """The intent is saved before the request and the id after it: a crash at either is harmless."""
    saved: list[Any] = []

    def save(record: Any) -> None:
        if len(saved) == saves:
            raise CrashError
        saved.append(record)

    with pytest.raises(CrashError):
        ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=save)
    assert len(empirical.runs) == saves

    left = saved[-1] if saved else None
    run = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", saved=left), save=saved.append)
    assert [run.id] == [each.id for each in empirical.runs]
    assert saved[-1]["run_id"] == run.id


def test_a_further_attempt_reads_the_run_that_was_saved(empirical: Emulator, ask: Twin) -> None:
    """With the id saved, one read is all it takes."""
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    before = len(empirical.requests)
    second = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", saved=saved[-1]))
    assert first.id == second.id
    assert [each.endpoint for each in empirical.requests[before:]][:1] == ["get_test_run"]
    assert _triggers(empirical) == 1


def test_without_a_store_a_further_attempt_looks_it_up(empirical: Emulator, ask: Twin) -> None:
    """All that has to be known is when an earlier attempt may have begun."""
    since = time.time()
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))
    second = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", tried_since=since))
    assert first.id == second.id
    assert _triggers(empirical) == 1


def test_a_run_without_a_verdict_does_not_hide_the_one_in_its_place(
    empirical: Emulator, ask: Twin
) -> None:
    """A retry that finds only a cancelled run waits for the one that may have replaced it."""
    since = time.time()
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))
    empirical.set_state(first.id, "cancelled")
    again = TriggerOnce(key="k", tried_since=since)
    ask.slept.clear()
    empirical.behave(list_lag_reads=20)

    def crash(_: Any) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        ask.trigger_test_run(STAGING, key=again, on_started=crash)
    empirical.behave(list_lag_reads=3)

    run = ask.trigger_test_run(STAGING, key=again)

    assert [first.id, run.id] == [each.id for each in empirical.runs]


def test_another_generation_starts_afresh(empirical: Emulator, ask: Twin) -> None:
    """After a clear nothing is taken over: neither what was saved nor what can be found."""
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    again = TriggerOnce(key="k", generation=1, saved=saved[-1], tried_since=1.0, grace=0)
    second = ask.trigger_test_run(STAGING, key=again)
    assert first.id != second.id
    assert _triggers(empirical) == 2


# After red tests


@pytest.mark.parametrize(("after_red", "only_failed"), [("rerun_failed", True), ("rerun_all", 0)])
@pytest.mark.parametrize("generation", [0, 1])
def test_red_tests_are_run_again_if_asked_to(
    after_red: str, only_failed: bool, generation: int, empirical: Emulator, ask: Twin
) -> None:
    """A further attempt, or a clear, re-runs what the run before says, and then adopts that."""
    empirical.script("staging", "failed", runs=1)
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.set_state(first.id, "ended")
    runs = []
    for _ in range(2):
        again = TriggerOnce(
            key="k", generation=generation, saved=saved[-1], after_red=after_red, grace=0
        )
        runs.append(ask.trigger_test_run(STAGING, key=again, save=saved.append))
    assert runs[0].id == runs[1].id != first.id
    rerun = empirical.runs[-1]
    assert (rerun.rerun_source_id, rerun.rerun_only_failed) == (first.id, bool(only_failed))
    assert len(empirical.runs) == 2


@pytest.mark.parametrize(
    ("policy", "scenario", "only_failed"),
    [
        ({"min_tests": 2}, {"outcome": "failed", "failed": 2}, True),
        ({"min_tests": 3}, {"outcome": "failed", "failed": 2}, False),
        ({"max_flaky": 1}, {"outcome": "failed", "failed": 2, "flaky": 1}, True),
        ({"max_flaky": 1}, {"outcome": "failed", "failed": 2, "flaky": 2}, False),
        ({"max_flaky": 1}, {"outcome": "flaky", "flaky": 2}, False),
    ],
    ids=["enough failed", "too few failed", "few flaky", "many flaky", "only flaky"],
)
def test_only_what_failed_is_run_again_only_if_that_can_pass(
    policy: dict[str, int],
    scenario: dict[str, Any],
    only_failed: bool,
    empirical: Emulator,
    ask: Twin,
) -> None:
    """A run of what failed lacks the other tests: where a limit is about them, all run again."""
    empirical.script("staging", **{"total": 9, **scenario}, runs=1)
    saved: list[Any] = []
    once = {"key": "k", "after_red": "rerun_failed", "policy": policy, "grace": 0}
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(**once), save=saved.append)
    empirical.set_state(first.id, "ended")
    again = ask.trigger_test_run(STAGING, key=TriggerOnce(**once, saved=saved[-1]))

    assert empirical.runs[-1].rerun_only_failed == only_failed
    empirical.set_state(again.id, "ended")
    assert ask.wait_for_test_run(again.id, policy=policy).outcome == Outcome.PASSED


def test_red_tests_are_taken_over_otherwise(empirical: Emulator, ask: Twin) -> None:
    """By default a further attempt gets the red run, and no other is started."""
    empirical.script("staging", "failed")
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.set_state(first.id, "ended")
    again = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", saved=saved[-1]))
    assert (again.id, again.state) == (first.id, "ended")
    assert len(empirical.runs) == 1


def test_a_lost_rerun_is_found(empirical: Emulator, ask: Twin) -> None:
    """The request to re-run takes no key: its run is known by the run that it repeats."""
    empirical.script("staging", "failed", runs=1)
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.set_state(first.id, "ended")
    empirical.fault("rerun_test_run", "drop", when="after")
    again = TriggerOnce(key="k", saved=saved[-1], after_red="rerun_failed")
    run = ask.trigger_test_run(STAGING, key=again)
    assert [first.id, run.id] == [each.id for each in empirical.runs]


def test_a_red_run_of_another_key_is_not_re_run(empirical: Emulator, ask: Twin) -> None:
    """What was saved under another key, such as that of the release before, starts a whole run."""
    empirical.script("staging", "failed", runs=1)
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.set_state(first.id, "ended")
    other = TriggerOnce(key="l", saved=saved[-1], after_red="rerun_failed")
    run = ask.trigger_test_run(STAGING, key=other)
    assert [first.id, run.id] == [each.id for each in empirical.runs]
    assert empirical.runs[-1].rerun_source_id is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_rerun_from_before_is_not_taken_for_a_lost_one(
    when: str, empirical: Emulator, ask: Twin
) -> None:
    """Where a re-run was cancelled, the next one is another run, also when its answer is lost."""
    empirical.script("staging", "failed", runs=1)
    saved: list[Any] = []
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"), save=saved.append)
    empirical.set_state(first.id, "ended")
    runs = []
    for lost in (False, True):
        if lost:
            empirical.set_state(runs[0].id, "cancelled")
            empirical.fault("rerun_test_run", "drop", when=when)
        again = TriggerOnce(key="k", saved=saved[-1], after_red="rerun_failed")
        runs.append(ask.trigger_test_run(STAGING, key=again, save=saved.append))
    assert [first.id, *(run.id for run in runs)] == [each.id for each in empirical.runs]
    assert {run.rerun_source_id for run in empirical.runs[1:]} == {first.id}


def test_a_rerun_without_a_verdict_does_not_hide_the_one_in_its_place(
    empirical: Emulator, ask: Twin
) -> None:
    """Without a store the re-run that goes on is found behind one that was cancelled."""
    empirical.script("staging", "failed", runs=1)
    again = TriggerOnce(key="k", tried_since=time.time(), after_red="rerun_all", grace=0)
    runs = [ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))]
    empirical.set_state(runs[0].id, "ended")
    for _ in range(2):
        empirical.set_state(runs[-1].id, "cancelled" if runs[1:] else "ended")
        runs.append(ask.trigger_test_run(STAGING, key=again))
    assert ask.trigger_test_run(STAGING, key=again).id == runs[-1].id
    assert [run.id for run in runs] == [each.id for each in empirical.runs]


def test_the_list_is_read_as_far_back_as_it_takes(empirical: Emulator, ask: Twin) -> None:
    """A run that more than a hundred newer ones have pushed off the first page is found."""
    since = time.time()
    first = ask.trigger_test_run(STAGING, key=TriggerOnce(key="k", key_in_environment=True))
    ask.settings["project_slug"] = "acme"
    for _ in range(101):
        ask("trigger", TestRunRequest(environment="production"))
    again = TriggerOnce(key="k", key_in_environment=True, tried_since=since)
    assert ask.trigger_test_run(STAGING, key=again).id == first.id
    pages = [each.query for each in empirical.requests if each.endpoint == "list_test_runs"]
    assert len(pages) == 2
