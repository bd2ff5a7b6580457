"""One run for one key, whatever is lost: over real HTTP, with both clients.

`test_exactly_once_model` plays the interleavings; here stands each single rule.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    InvalidRequestError,
    NotSentError,
    ServerError,
    TestRunRequest,
    TriggerOnce,
    TriggerOutcomeUnknownError,
    TriggerRejectedError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.trigger_key import TriggerKey

if TYPE_CHECKING:
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging", build={"commit": "abc"})
ECHOES = [
    frozenset(),
    frozenset({"metadata"}),
    frozenset({"environment_variables_overrides"}),
    frozenset({"metadata", "environment_variables_overrides"}),
]


@pytest.fixture(autouse=True)
def _metadata_is_shown(empirical: Emulator) -> None:
    """Let the service show metadata on a run's own page, unless a test says otherwise."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail | {"metadata"})


def _triggers(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("trigger")


# What is sent


def test_the_key_travels_in_the_metadata(empirical: Emulator, ask: Twin) -> None:
    """The service gets an opaque key of at most 213 characters, next to the user's metadata."""
    request = TestRunRequest(environment="staging", metadata={"by": "me"})
    ask.trigger_test_run(request, key="release 7", key_in_environment=False)
    body = empirical.runs[0].body
    assert body["metadata"].keys() == {"by", "trigger_key"}
    assert len(body["metadata"]["trigger_key"]) <= 213
    assert "release" not in body["metadata"]["trigger_key"]
    assert "environment_variables_overrides" not in body


@pytest.mark.parametrize(
    "given",
    [
        {"key": "release 7"},
        {"key": "release 7", "key_in_environment": None},
        {"key": "release 7", "key_in_environment": True},
        {"key": TriggerOnce(key="release 7")},
    ],
    ids=str,
)
def test_the_key_travels_in_the_environment(
    given: dict[str, Any], empirical: Emulator, ask: Twin
) -> None:
    """The tests get it as a variable, next to those of the user, unless that is turned off."""
    request = TestRunRequest(environment="staging", environment_variables_overrides={"A": "1"})
    ask.trigger_test_run(request, **given)
    body = empirical.runs[0].body
    assert body["environment_variables_overrides"] == [
        {"name": "A", "value": "1"},
        {"name": "EMPIRICAL_TRIGGER_KEY", "value": body["metadata"]["trigger_key"]},
    ]


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({}, "", "key must"),
        ({}, 7, "key must be .*, not int"),
        ({"metadata": {"trigger_key": "mine"}}, "k", "metadata must not hold 'trigger_key'"),
        (
            {"environment_variables_overrides": {"EMPIRICAL_TRIGGER_KEY": "mine"}},
            "k",
            "environment_variables_overrides must not hold 'EMPIRICAL_TRIGGER_KEY'",
        ),
    ],
)
def test_a_bad_key_is_refused(
    given: dict[str, Any], key: Any, words: str, empirical: Emulator, ask: Twin
) -> None:
    """What is no key, or stands where ours goes, is refused by name before any request."""
    with pytest.raises(InvalidRequestError, match=words):
        ask.trigger_test_run(TestRunRequest(environment="staging", **given), key=key)
    assert empirical.requests == []


def test_a_key_in_the_environment_needs_a_key(empirical: Emulator, ask: Twin) -> None:
    """What would be without effect is refused before any request."""
    with pytest.raises(InvalidRequestError, match="key_in_environment has no effect without a key"):
        ask.trigger_test_run(TestRunRequest(environment="staging"), key_in_environment=True)
    assert empirical.requests == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"generation": -1}, "generation"),
        ({"key_in_environment": "yes"}, "key_in_environment"),
        ({"after_red": "rerun"}, "on_retry_after_red"),
        ({"policy": {"min_tests": "two"}}, "policy.min_tests"),
    ],
)
def test_what_a_host_gives_is_checked_at_once(given: dict[str, Any], field: str) -> None:
    """A bad value is refused by name when it is given, not when an attempt comes to it."""
    with pytest.raises(InvalidRequestError, match=field):
        TriggerOnce(key="k", **given)


# What is lost


@pytest.mark.parametrize("effect", ["drop", "truncated", "malformed", "html", "huge"])
def test_a_lost_answer_is_made_good(effect: str, empirical: Emulator, ask: Twin) -> None:
    """When the service acted and its answer was lost, its run is found and returned."""
    empirical.fault("trigger", effect, when="after")
    told: list[int] = []
    run = ask.trigger_test_run(STAGING, key="k", on_started=lambda run: told.append(run.id))
    assert [run.id] == [each.id for each in empirical.runs] == told
    assert run.url.endswith(f"/test-runs/{run.id}")
    assert _triggers(empirical) == 1


def test_a_lost_request_is_sent_again(empirical: Emulator, ask: Twin) -> None:
    """When no run came up within the grace, none was started, and the request goes out again."""
    empirical.fault("trigger", "drop")
    run = ask.trigger_test_run(STAGING, key="k")
    assert [run.id] == [each.id for each in empirical.runs]
    assert _triggers(empirical) == 2
    assert sum(ask.slept) == pytest.approx(60)


def test_it_is_not_sent_for_ever(empirical: Emulator, ask: Twin) -> None:
    """Where nothing is ever started, the error is the service's own, and says what it was."""
    empirical.fault("trigger", "status", status=503, times=None)
    with pytest.raises(ServerError, match="503"):
        ask.trigger_test_run(STAGING, key="k")
    assert empirical.runs == []
    assert _triggers(empirical) == 3


@pytest.mark.parametrize("in_environment", [False, True])
@pytest.mark.parametrize(("in_list", "in_detail"), itertools.product(ECHOES, ECHOES), ids="+".join)
def test_a_run_is_found_if_the_service_shows_its_key_anywhere(
    in_list: frozenset[str],
    in_detail: frozenset[str],
    in_environment: bool,
    empirical: Emulator,
    ask: Twin,
) -> None:
    """Shown in lists or on its own page, the run is adopted; shown nowhere, nobody guesses."""
    shown = {"metadata", *(["environment_variables_overrides"] if in_environment else [])}
    behaviour = empirical.behaviour
    empirical.behave(
        echo_in_list=(behaviour.echo_in_list - ECHOES[-1]) | in_list,
        echo_in_detail=(behaviour.echo_in_detail - ECHOES[-1]) | in_detail,
    )
    empirical.fault("trigger", "drop", when="after")
    once = {"key": "k", "key_in_environment": in_environment}
    if shown & (in_list | in_detail):
        assert ask.trigger_test_run(STAGING, **once).id == empirical.runs[0].id
    else:
        with pytest.raises(TriggerOutcomeUnknownError) as error:
            ask.trigger_test_run(STAGING, **once)
        key = empirical.runs[0].body["metadata"]["trigger_key"]
        for told in ("'staging'", key, f"test run {empirical.runs[0].id}", empirical.url):
            assert told in str(error.value)
        assert not error.value.may_pass  # a retry would see no more
    assert _triggers(empirical) == len(empirical.runs) == 1


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
def test_the_services_clock_may_be_wrong(skew: float, empirical: Emulator, ask: Twin) -> None:
    """Moments are compared by the service's own clock: two hours of difference harm nothing."""
    empirical.behave(clock_skew=skew)
    empirical.fault("trigger", "drop", when="after")
    assert ask.trigger_test_run(STAGING, key="k").id == empirical.runs[0].id
    assert len(empirical.runs) == 1


def test_a_run_may_be_listed_late(empirical: Emulator, ask: Twin) -> None:
    """A run that the first lists miss is waited for, and found."""
    empirical.behave(list_lag_reads=4)
    empirical.fault("trigger", "drop", when="after")
    assert ask.trigger_test_run(STAGING, key="k").id == empirical.runs[0].id
    assert len(empirical.runs) == 1


def test_runs_of_others_are_never_taken(empirical: Emulator, ask: Twin) -> None:
    """Runs that others have started at the same time in the same environment do not count."""
    for key in (None, "another"):
        ask.trigger_test_run(STAGING, key=key)
    empirical.fault("trigger", "drop")
    run = ask.trigger_test_run(STAGING, key="k")
    assert run.id == empirical.runs[-1].id
    assert len(empirical.runs) == 3


def test_a_list_that_cannot_be_read_decides_nothing(empirical: Emulator, ask: Twin) -> None:
    """While the look-up fails, nobody knows, and nothing is sent again."""
    once = TriggerOnce(key="k", grace=5.0)
    empirical.fault("trigger", "drop")
    empirical.fault("list_test_runs", "status", status=500, times=None)
    with pytest.raises(
        TriggerOutcomeUnknownError, match=r"could not be looked through: .* 500"
    ) as error:
        ask.trigger_test_run(STAGING, key=once)
    assert error.value.may_pass  # a retry may be able to read it
    assert _triggers(empirical) == 1


def test_what_was_certainly_not_started_ends_at_once(ask: Twin, empirical: Emulator) -> None:
    """Without a connection there is nothing to look for, and the error says so."""
    ask.settings["base_url"] = "http://127.0.0.1:1"
    with pytest.raises(NotSentError):
        ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))
    assert empirical.requests == []


def test_a_run_that_was_refused_is_not_taken_for_started(empirical: Emulator, ask: Twin) -> None:
    """Where the lost answer was that the run ended in error at once, that is the error."""
    empirical.script("staging", "rejected")
    empirical.fault("trigger", "drop", when="after")
    with pytest.raises(TriggerRejectedError, match=r"Test run \d+ was started, but is in state"):
        ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))
    assert _triggers(empirical) == 1


# A key that others use, too


def test_a_second_one_adopts(empirical: Emulator, ask: Twin) -> None:
    """Whoever uses the same key for the same request gets the same run."""
    first = ask.trigger_test_run(STAGING, key="release 7")
    second = ask.trigger_test_run(STAGING, key="release 7")
    assert first.id == second.id
    assert _triggers(empirical) == 1


@pytest.mark.parametrize("outcome", ["rejected", "cancelled"])
def test_a_lost_answer_that_leaves_no_verdict_is_asked_for_again(
    outcome: str, empirical: Emulator, ask: Twin
) -> None:
    """A run that has no verdict and turns up in place of the answer is replaced, once."""
    empirical.script("staging", outcome, runs=1)
    empirical.fault("trigger", "drop", when="after")
    run = ask.trigger_test_run(STAGING, key="k", key_in_environment=False)
    assert run.id == empirical.runs[-1].id
    assert len(empirical.runs) == 2


@pytest.mark.parametrize("state", ["error", "cancelled"])
def test_a_run_without_a_verdict_is_replaced(state: str, empirical: Emulator, ask: Twin) -> None:
    """After error or cancel the same key starts another run, and then that one is adopted."""
    first = ask.trigger_test_run(STAGING, key="release 7")
    empirical.set_state(first.id, state)
    second, third = (ask.trigger_test_run(STAGING, key="release 7") for _ in range(2))
    assert first.id != second.id == third.id
    assert _triggers(empirical) == 2


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"build": {"commit": "def"}}, "build"),
        ({"tags": ["smoke"], "total_shards": 2}, "tags, total_shards"),
        ({"environment_variables_overrides": {"A": "1"}}, "environment_variables_overrides"),
        ({"build": None, "branch": "b"}, "build, branch"),
    ],
)
def test_a_key_is_for_one_request(
    changes: dict[str, Any], names: str, empirical: Emulator, ask: Twin
) -> None:
    """The same key with another request is refused, and what differs is named."""
    run = ask.trigger_test_run(STAGING, key="release 7")
    given = {"environment": "staging", "build": {"commit": "abc"}, **changes}
    with pytest.raises(InvalidRequestError, match=f"differs in {names}\\.") as error:
        ask.trigger_test_run(TestRunRequest(**given), key="release 7")
    assert f"test run {run.id}" in str(error.value)
    assert _triggers(empirical) == 1


def test_what_does_not_change_the_tests_does_not_change_the_request(
    empirical: Emulator, ask: Twin
) -> None:
    """Metadata, who starts it, notifications and the order of lists are free."""
    first, second = (
        TestRunRequest(environment="staging", tags=tags, metadata={"n": n}, github_actor=str(n))
        for n, tags in enumerate((["a", "b"], ["b", "a"]))
    )
    assert (
        ask.trigger_test_run(first, key="k").id
        == ask.trigger_test_run(second, key="k").id
        == empirical.runs[0].id
    )


# Clocks, orders and other keys


class Switching(list[float]):
    """Notes the pauses, and has the service's clock set with the first."""

    def __init__(self, empirical: Emulator) -> None:
        super().__init__()
        self._empirical = empirical

    def append(self, seconds: float) -> None:
        self._empirical.behave(clock_skew=0.0)
        super().append(seconds)


@pytest.mark.parametrize("in_environment", [False, True])
@pytest.mark.parametrize("behind", [7.0, 60.0, 500.0, 5_000.0, -500.0])
def test_a_run_is_found_by_its_key_whatever_its_date(
    behind: float, in_environment: bool, empirical: Emulator, ask: Twin
) -> None:
    """A run that is dated by another clock than the responses shows our key: it is ours."""
    empirical.behave(
        clock_skew=-behind,
        list_lag_reads=1,
        echo_in_list=empirical.behaviour.echo_in_list | {"metadata"},
    )
    empirical.fault("trigger", "drop", when="after")
    ask.slept = Switching(empirical)
    run = ask.trigger_test_run(STAGING, key="k", key_in_environment=in_environment)
    assert [run.id] == [each.id for each in empirical.runs]
    assert _triggers(empirical) == 1


def test_a_key_is_enough_beside_runs_of_others(empirical: Emulator, ask: Twin) -> None:
    """With the service as observed, the first use of a key is not disturbed by any other run."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"metadata"})
    for _ in range(3):
        ask("trigger", STAGING)
    run = ask.trigger_test_run(STAGING, key="release 7")
    assert run.id == empirical.runs[-1].id
    assert ask.trigger_test_run(STAGING, key="release 7").id == run.id
    assert len(empirical.runs) == 4


def test_without_it_a_key_costs_more(empirical: Emulator, ask: Twin) -> None:
    """Turned off, whose the others are is not known, and no retry would tell."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"metadata"})
    ask("trigger", STAGING)
    with pytest.raises(TriggerOutcomeUnknownError, match="left at its default") as error:
        ask.trigger_test_run(STAGING, key="release 7", key_in_environment=False)
    assert not error.value.may_pass


@pytest.mark.parametrize("key", [None, TriggerOnce(key="other", key_in_environment=False)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_runs_that_were_started_here_under_other_keys_are_known(
    when: str, key: TriggerOnce | None, empirical: Emulator, ask: Twin
) -> None:
    """Of two gates in one environment the second one knows that the first one's run is not its."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"metadata"})
    first = ask.trigger_test_run(STAGING, key=key)
    empirical.fault("trigger", "status", status=503, when=when)
    once = TriggerOnce(key="k", grace=5.0)
    run = ask.trigger_test_run(STAGING, key=once)
    assert [first.id, run.id] == [each.id for each in empirical.runs]


def test_a_look_up_is_over_after_a_minute(empirical: Emulator, ask: Twin) -> None:
    """A list that fails for good is not waited for by each of the looks anew."""
    empirical.fault("trigger", "drop")
    empirical.fault("list_test_runs", "status", status=500, times=None)
    with pytest.raises(TriggerOutcomeUnknownError):
        ask.trigger_test_run(STAGING, key=TriggerOnce(key="k"))
    assert sum(ask.slept) <= 60.0


# Copies


@pytest.mark.parametrize("state", ["queued", "ended"])
def test_a_copy_of_our_key_elsewhere_is_left_alone(
    state: str, empirical: Emulator, ask: Twin
) -> None:
    """A run with our metadata and overrides in another environment is neither ours nor a rival."""
    first = ask.trigger_test_run(STAGING, key="k")
    body = empirical.runs[0].body
    empirical.delete_run(first.id)
    copied = ask(
        "trigger",
        TestRunRequest(
            environment="production",
            metadata=body["metadata"],
            environment_variables_overrides=body["environment_variables_overrides"],
        ),
    )
    empirical.set_state(copied.id, state)
    run = ask.trigger_test_run(STAGING, key="k")
    assert run.id == empirical.runs[-1].id != copied.id
    assert "cancel_test_run" not in [each.endpoint for each in empirical.requests]


def test_a_run_of_another_request_is_not_cancelled(
    empirical: Emulator, ask: Twin, api_key: str
) -> None:
    """Who comes to one key with another request at the same moment loses, but not by us."""
    empirical.script("staging", "stuck")
    mine = TestRunRequest(environment="staging", build={"commit": "def"})
    keyed = TriggerKey.of("k", mine, api_key=api_key).put_into(mine, environment=True)
    started: list[int] = []

    def meanwhile(_: Any) -> None:
        with ThreadPoolExecutor() as pool:
            started.append(pool.submit(ask, "trigger", keyed).result().id)

    run = ask.trigger_test_run(STAGING, key="k", on_started=meanwhile)
    assert {each.id: each.state for each in empirical.runs if "cancel" in each.state} == {}
    assert [run.id, *started] == [each.id for each in empirical.runs]
    with pytest.raises(InvalidRequestError, match=r"differs in build\."):
        ask.trigger_test_run(mine, key="k")


@pytest.mark.parametrize("saves", [False, True])
def test_a_rotated_api_key_changes_nothing(saves: bool, ask: Twin) -> None:
    """Neither a second run nor a refusal: values cannot be compared, and all else is the same."""
    with Emulator() as empirical:  # accepts every key
        ask.settings["base_url"] = empirical.url
        _rotate(saves, empirical, ask)


def _rotate(saves: bool, empirical: Emulator, ask: Twin) -> None:
    request = TestRunRequest(environment="staging", environment_variables_overrides={"A": "1"})
    saved: list[Any] = []
    first = ask.trigger_test_run(request, key=TriggerOnce(key="k"), save=saved.append)
    ask.settings["api_key"] = "the-next-api-key-1"
    since = {"saved": saved[-1]} if saves else {"tried_since": time.time() - 1.0}
    again = ask.trigger_test_run(request, key=TriggerOnce(key="k", **since))
    assert first.id == again.id
    other = TestRunRequest(environment="staging", tags=["@a"])
    with pytest.raises(InvalidRequestError, match="differs in environment_variables_overrides, ta"):
        ask.trigger_test_run(other, key=TriggerOnce(key="k", **since))
    assert len(empirical.runs) == 1
