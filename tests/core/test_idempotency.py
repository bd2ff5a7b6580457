"""One run for one key, whatever is lost: over real HTTP, with both clients.

`test_exactly_once_model` plays the interleavings; here stands each single rule.
"""

from __future__ import annotations

import itertools
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

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
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
    """The service gets an opaque key of at most 64 characters, next to the user's metadata."""
    request = TestRunRequest(environment="staging", metadata={"by": "me"})
    ask.trigger_test_run(request, key="release 7")
    body = empirical.runs[0].body
    assert body["metadata"].keys() == {"by", "trigger_key"}
    assert len(body["metadata"]["trigger_key"]) <= 64
    assert "release" not in body["metadata"]["trigger_key"]
    assert "environment_variables_overrides" not in body


def test_the_key_travels_in_the_environment_if_asked_to(empirical: Emulator, ask: Twin) -> None:
    """With the opt-in, the tests get it as a variable, next to those of the user."""
    request = TestRunRequest(environment="staging", environment_variables_overrides={"A": "1"})
    ask.trigger_test_run(request, key="release 7", key_in_environment=True)
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
        assert error.value.may_pass  # a retry does no harm
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
    with pytest.raises(TriggerOutcomeUnknownError, match=r"could not be looked through: .* 500"):
        ask.trigger_test_run(STAGING, key=once)
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
    run = ask.trigger_test_run(STAGING, key="k")
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
