"""Starting a run: what it returns, what can go wrong, and that it never starts a second one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from empirical_provider import (
    AuthenticationError,
    BillingError,
    EmpiricalError,
    InvalidRequestError,
    NotSentError,
    RateLimitedError,
    TestRunRequest,
    TestRunState,
    TriggerOutcomeUnknownError,
    TriggerRejectedError,
    UnreadableAnswerError,
)

if TYPE_CHECKING:
    from empirical_provider import TestRun
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging")


def test_the_run_comes_back_with_its_page(empirical: Emulator, ask: Twin) -> None:
    """The run that was started is returned with its id, state, branch, time, and page."""
    run = ask.trigger_test_run(STAGING)
    assert run.state == TestRunState.QUEUED
    assert run.as_dict() == {
        "id": empirical.runs[0].id,
        "state": "queued",
        "url": f"{empirical.url}/acme/test-runs/{run.id}",
        "branch": "main",
        "created_at": run.created_at,
    }
    assert run.created_at.endswith("Z")


def test_the_id_is_told_before_the_page_is_looked_up(empirical: Emulator, ask: Twin) -> None:
    """A host can save the id before anything else is asked."""
    told: list[tuple[int, int]] = []
    run = ask.trigger_test_run(
        STAGING, on_started=lambda started: told.append((started.id, len(empirical.requests)))
    )
    assert told == [(run.id, 1)]
    assert len(empirical.requests) == 2


def test_a_known_slug_spares_the_look_up(empirical: Emulator, ask: Twin) -> None:
    """With the project's slug in the settings, one request is all it takes."""
    ask.settings["project_slug"] = "a/b c"
    run = ask.trigger_test_run(STAGING)
    assert run.url == f"{empirical.url}/a%2Fb%20c/test-runs/{run.id}"
    assert len(empirical.requests) == 1


def test_the_slug_may_come_from_the_run(empirical: Emulator, ask: Twin) -> None:
    """Where the project cannot be read, the run itself tells the slug."""
    empirical.fault("get_project", "status", status=404)
    run = ask.trigger_test_run(STAGING)
    assert run.url == f"{empirical.url}/acme/test-runs/{run.id}"


def test_a_missing_page_is_no_failure(empirical: Emulator, ask: Twin) -> None:
    """A run whose page cannot be found out is still a run, and is not waited for."""
    for endpoint in ("get_project", "get_test_run"):
        empirical.fault(endpoint, "status", status=500, times=None)
    run: TestRun = ask.trigger_test_run(STAGING)
    assert run.url is None
    assert ask.slept == []


@pytest.mark.parametrize("effect", ["drop", "truncated", "malformed", "html", "huge"])
def test_a_lost_response_makes_no_second_run(effect: str, empirical: Emulator, ask: Twin) -> None:
    """When the answer is lost after the service acted, there is one run, and an honest error."""
    empirical.fault("trigger", effect, when="after")
    with pytest.raises(TriggerOutcomeUnknownError, match="not known whether a test run was") as e:
        ask.trigger_test_run(STAGING)
    assert empirical.url in str(e.value)  # where to look
    assert "Try again" not in str(e.value)
    assert isinstance(e.value.__cause__, EmpiricalError)
    assert len(empirical.runs) == 1
    assert len(empirical.requests) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_of_the_service_is_ambiguous(
    status: int, when: str, empirical: Emulator, ask: Twin
) -> None:
    """A 5xx does not say whether a run was started, so the request is not sent again."""
    empirical.fault("trigger", "status", status=status, when=when, retry_after="1")
    with pytest.raises(TriggerOutcomeUnknownError) as error:
        ask.trigger_test_run(STAGING)
    assert error.value.status == status
    assert not error.value.may_pass
    assert len(empirical.requests) == 1


def test_a_timed_out_trigger_is_ambiguous(empirical: Emulator, ask: Twin) -> None:
    """A trigger that takes too long may still have started a run."""
    ask.settings["timeout"] = {"trigger": 0.2}
    empirical.fault("trigger", "delay", when="after", delay=30)
    with pytest.raises(TriggerOutcomeUnknownError, match="ReadTimeout"):
        ask.trigger_test_run(STAGING)
    assert len(empirical.runs) == 1


def test_a_rate_limited_trigger_is_sent_again(empirical: Emulator, ask: Twin) -> None:
    """429 means that nothing was acted on: after the wait the run is started, once."""
    empirical.fault("trigger", "status", status=429, retry_after="3", times=2)
    ask.trigger_test_run(STAGING)
    assert ask.slept == [3, 3]
    assert len(empirical.runs) == 1


def test_a_trigger_that_could_not_connect_is_sent_again(ask: Twin) -> None:
    """Without a connection nothing was acted on, so it is tried until the limit."""
    ask.settings["base_url"] = "http://127.0.0.1:1"
    with pytest.raises(NotSentError):
        ask.trigger_test_run(STAGING)
    assert len(ask.slept) > 2
    assert sum(ask.slept) < 60


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, BillingError),
        (422, InvalidRequestError),
        (429, RateLimitedError),
    ],
)
def test_a_clear_no_is_its_own_error(
    status: int, kind: type[EmpiricalError], empirical: Emulator, ask: Twin
) -> None:
    """A refusal is no ambiguity: nothing was started, and the error says which refusal it was."""
    ask.settings["retry_for"] = 0
    empirical.fault("trigger", "status", status=status, message="An invoice is overdue.")
    with pytest.raises(kind, match=r"An invoice is overdue\."):
        ask.trigger_test_run(STAGING)
    assert empirical.runs == []


def test_a_redirected_trigger_started_nothing(empirical: Emulator, ask: Twin) -> None:
    """A redirect was not acted on, and is not followed."""
    empirical.fault("trigger", "redirect", message="https://elsewhere.example/")
    with pytest.raises(UnreadableAnswerError, match="Set the base URL"):
        ask.trigger_test_run(STAGING)


def test_an_unknown_environment_lists_the_known_ones(ask: Twin) -> None:
    """The service's list of environments reaches the user."""
    with pytest.raises(InvalidRequestError, match=r"stagin.*production.*staging"):
        ask.trigger_test_run(TestRunRequest(environment="stagin"))


def test_a_rejected_run_is_an_error_that_names_it(empirical: Emulator, ask: Twin) -> None:
    """success false in a 2xx answer is an error with the id of the run that failed to start."""
    ask.settings["project_slug"] = "acme"
    empirical.script("staging", "rejected")
    with pytest.raises(TriggerRejectedError) as error:
        ask.trigger_test_run(STAGING)
    run_id = empirical.runs[0].id
    assert error.value.run_id == run_id
    assert error.value.run_url == f"{empirical.url}/acme/test-runs/{run_id}"
    assert f"Test run {run_id}: {error.value.run_url}." in str(error.value)
