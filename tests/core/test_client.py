"""Both clients, against the local Empirical: every endpoint, and when a request is sent again."""

from __future__ import annotations

import itertools
import logging
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AlreadyFinishedError,
    AuthenticationError,
    BillingError,
    EmpiricalClient,
    EmpiricalError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    RateLimitedError,
    ServerError,
    TestRunRequest,
    TestRunState,
    UnreadableAnswerError,
)

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

STAGING = TestRunRequest(environment="staging", build={"commit": "c0ffee"})


def read_until_terminal(ask: Twin, run_id: int) -> Any:
    runs = (ask("get_test_run", run_id) for _ in range(10))
    return next(itertools.dropwhile(lambda run: not run.state.is_terminal, runs))


def test_a_run_is_read_with_its_counts_and_tests(empirical: Emulator, ask: Twin) -> None:
    """A finished run comes back with its counts, its tests by name, and its page."""
    empirical.script("staging", "failed", total=5, failed=2, snoozed=1)
    started = ask("trigger", STAGING)
    assert started.state == TestRunState.QUEUED
    assert started.environment == "staging"
    run = read_until_terminal(ask, started.id)
    assert (run.state, run.total_count, run.failed_count) == (TestRunState.ENDED, 5, 2)
    assert run.failed_count_after_snoozing == 1
    failed = [test for test in run.tests if test.status == "failed"]
    assert sorted(test.snoozed for test in failed) == [False, True]
    assert all(" > " in test.name and test.pw_test_id for test in failed)
    assert run.url == f"{empirical.url}/acme/test-runs/{run.id}"


def test_the_error_code_is_read(empirical: Emulator, ask: Twin) -> None:
    """A run without a result says why."""
    empirical.script("staging", "error", error_code="merge_reports_failed")
    run = read_until_terminal(ask, ask("trigger", STAGING).id)
    assert (run.state, run.error_code) == (TestRunState.ERROR, "merge_reports_failed")


def test_the_list_is_read_page_by_page_as_needed(
    empirical: Emulator, api_key: str, ask: Twin
) -> None:
    """All pages are read when all runs are wanted, and one page when one run is."""
    ids = [ask("trigger", STAGING).id for _ in range(5)]
    runs = ask("list_test_runs", per_page=2)
    assert [run.id for run in runs] == ids[::-1]
    assert {run.environment for run in runs} == {"staging"}
    assert runs[0].url == f"{empirical.url}/acme/test-runs/{ids[-1]}"
    before = len(empirical.requests)
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        assert next(iter(client.list_test_runs(per_page=2))).id == ids[-1]
    assert len(empirical.requests) == before + 1


def test_the_filters_of_the_list_arrive(empirical: Emulator, ask: Twin) -> None:
    """Every filter stands in the query under its documented name."""
    ask(
        "list_test_runs",
        environment_ids=[1, 2],
        branch="main",
        state="ended",
        result="failed",
        interval_in_days=3,
        per_page=50,
    )
    [request] = empirical.requests
    assert request.query == {
        "environment_ids": "1,2",
        "branch": "main",
        "state": "ended",
        "result": "failed",
        "interval_in_days": "3",
        "per_page": "50",
        "page": "1",
    }


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"per_page": 101}, "per_page must be at most 100"),
        ({"per_page": 0}, "per_page must be at least 1"),
        ({"state": "done"}, "state must be pending or queued"),
        ({"result": "green"}, "result must be passed or failed"),
        ({"environment_ids": ["1"]}, r"environment_ids\[0\] must be an integer"),
        ({"interval_in_days": 0}, "interval_in_days must be at least 1"),
        ({"branch": ""}, "branch must be a non-empty string"),
    ],
)
def test_a_bad_filter_is_refused_at_once(
    filters: dict[str, Any], message: str, empirical: Emulator, api_key: str
) -> None:
    """A bad filter fails where it is given, not where the first run is wanted."""
    with (
        EmpiricalClient(api_key=api_key, base_url=empirical.url) as client,
        pytest.raises(InvalidRequestError, match=message),
    ):
        client.list_test_runs(**filters)
    assert empirical.connections == 0


def test_a_run_is_cancelled_once(empirical: Emulator, ask: Twin) -> None:
    """Cancelling works with a reason; cancelling what has finished says so."""
    run = ask("trigger", STAGING)
    ask("cancel_test_run", run.id, reason="the release was taken back")
    assert empirical.runs[0].cancel_reason == "the release was taken back"
    assert read_until_terminal(ask, run.id).state == TestRunState.CANCELLED
    with pytest.raises(AlreadyFinishedError) as error:
        ask("cancel_test_run", run.id)
    assert error.value.run_id == run.id


def test_a_run_is_repeated(empirical: Emulator, ask: Twin) -> None:
    """A re-run is a new run that names the one it repeats."""
    empirical.script("staging", "failed", total=4, failed=1, runs=1)
    first = read_until_terminal(ask, ask("trigger", STAGING).id)
    second = ask("rerun_test_run", first.id, only_failed=True, send_notifications=False)
    assert second.id != first.id
    assert second.rerun_source_id == first.id
    assert empirical.requests[-1].body == {"only_failed": True, "send_notifications": False}


def test_environments_and_project_are_read(ask: Twin) -> None:
    """The environments come with their slugs, the project with its own."""
    assert sorted(each.slug for each in ask("list_environments")) == ["production", "staging"]
    assert ask("get_project", 7).slug == "acme"


@pytest.mark.parametrize("run_id", [0, -1, "456", True, None, 1.0])
def test_a_bad_run_id_is_refused_before_sending(run_id: object, empirical: Emulator) -> None:
    """Only a positive integer is a run id."""
    with EmpiricalClient(api_key="k", base_url=empirical.url) as client:
        for method in (client.get_test_run, client.cancel_test_run, client.rerun_test_run):
            with pytest.raises(InvalidRequestError, match="run_id must be"):
                method(run_id)  # type: ignore[operator]
    assert empirical.connections == 0


STATUSES = [
    (400, InvalidRequestError),
    (401, AuthenticationError),
    (402, BillingError),
    (403, AuthenticationError),
    (404, NotFoundError),
    (408, NoAnswerError),
    (409, InvalidRequestError),
    (412, AlreadyFinishedError),
    (422, InvalidRequestError),
    (429, RateLimitedError),
    (500, ServerError),
    (503, ServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_each_status_has_its_error(
    status: int, kind: type[EmpiricalError], empirical: Emulator, ask: Twin
) -> None:
    """An error names what was asked of which host and path, the status, the service's words."""
    ask.settings["retry_for"] = 0
    empirical.fault("get_test_run", "status", status=status, message="the words of the service")
    with pytest.raises(EmpiricalError) as error:
        ask("get_test_run", 456)
    assert type(error.value) is kind
    host = empirical.url.removeprefix("http://")
    assert str(error.value).startswith(
        f"Could not read test run 456: GET {host}/api/test-runs/456 answered {status}: "
        '"the words of the service".'
    )
    assert (error.value.status, error.value.run_id) == (status, 456)
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), vars(again)) == (str(error.value), vars(error.value))


@pytest.mark.parametrize("effect", ["drop", "truncated"])
def test_a_broken_connection_is_no_answer(effect: str, empirical: Emulator, ask: Twin) -> None:
    """A read whose answer breaks off ends as what it is, not as an error of the HTTP library."""
    ask.settings["retry_for"] = 0
    empirical.fault("get_test_run", effect)
    with pytest.raises(NoAnswerError, match="got no answer"):
        ask("get_test_run", 456)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ("malformed", "the body is not JSON"),
        ("html", "the body is not JSON"),
        ("huge", "the body is larger than 10 MB"),
    ],
)
def test_an_unreadable_answer_says_why(
    effect: str, words: str, empirical: Emulator, ask: Twin
) -> None:
    """What no API gives (broken JSON, a proxy's page, 50 MB) is refused, and not asked again."""
    empirical.fault("get_test_run", effect)
    with pytest.raises(UnreadableAnswerError, match=words):
        ask("get_test_run", 456)
    assert len(empirical.requests) == 1


def test_a_huge_refusal_is_still_a_refusal(empirical: Emulator, ask: Twin) -> None:
    """Of a long error page the beginning is read; its status is what counts."""
    empirical.fault("get_test_run", "status", status=401, message="no " * 100_000)
    with pytest.raises(AuthenticationError, match="no no no"):
        ask("get_test_run", 456)


def test_a_known_page_is_named_by_every_message(empirical: Emulator, ask: Twin) -> None:
    """Once the project's slug is known, errors about a run carry its page."""
    ask.settings["project_slug"] = "acme"
    with pytest.raises(NotFoundError) as error:
        ask("get_test_run", 456)
    page = f"{empirical.url}/acme/test-runs/456"
    assert error.value.run_url == page
    assert f" Test run 456: {page}." in str(error.value)


def test_a_redirect_is_not_followed(empirical: Emulator, ask: Twin) -> None:
    """A redirect ends the request: the key must not travel to another host."""
    empirical.fault("get_test_run", "redirect", message="/api/environments/list")
    with pytest.raises(UnreadableAnswerError, match="a redirect"):
        ask("get_test_run", 456)
    assert len(empirical.requests) == 1


def test_no_connection_is_not_sent(ask: Twin) -> None:
    """A host that is not there is told apart from one that did not answer."""
    ask.settings |= {"base_url": "http://127.0.0.1:1", "retry_for": 0}
    with pytest.raises(NotSentError, match="Nothing was acted on"):
        ask("get_test_run", 456)


def test_a_slow_answer_times_out(empirical: Emulator, ask: Twin) -> None:
    """The time-out of a read is the one that was set."""
    ask.settings |= {"timeout": {"other": 0.2}, "retry_for": 0}
    empirical.fault("get_test_run", "delay", delay=30)
    with pytest.raises(NoAnswerError, match="ReadTimeout"):
        ask("get_test_run", 456)


def test_a_read_is_sent_again_when_the_trouble_may_pass(empirical: Emulator, ask: Twin) -> None:
    """A read survives a lost connection, an error of the service and a rate limit."""
    run = ask("trigger", STAGING)
    empirical.fault("get_test_run", "drop")
    empirical.fault("get_test_run", "status", status=502)
    empirical.fault("get_test_run", "status", status=429, retry_after="7")
    assert ask("get_test_run", run.id).id == run.id
    assert len(ask.slept) == 3
    assert ask.slept[2] == 7


def test_retry_after_is_honoured_as_a_date(empirical: Emulator, ask: Twin) -> None:
    """A date in Retry-After means the time until then, by the service's clock."""
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    empirical.fault("list_environments", "status", status=429, retry_after=then)
    ask("list_environments")
    assert 25 < ask.slept[0] <= 31


def test_a_wait_beyond_the_limit_is_an_error(empirical: Emulator, ask: Twin) -> None:
    """Where the service asks for more patience than there is, the error carries the wait."""
    empirical.fault("list_environments", "status", status=429, retry_after="3600")
    with pytest.raises(RateLimitedError, match="asked to wait 3600 s") as error:
        ask("list_environments")
    assert error.value.retry_after == 3600
    assert ask.slept == []


def test_what_will_not_pass_is_not_asked_again(empirical: Emulator, ask: Twin) -> None:
    """A refused key is asked once."""
    ask.settings["api_key"] = "another-key"
    with pytest.raises(AuthenticationError):
        ask("list_environments")
    assert len(empirical.requests) == 1


def test_no_error_holds_the_key_or_an_override(
    empirical: Emulator, ask: Twin, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that echoes secrets does not make us repeat them, in errors or in logs."""
    caplog.set_level(logging.DEBUG)
    secrets = {"TOKEN": "hush-hush", "QUOTED": 'say "hush"\n', "DIGIT": "7"}
    request = TestRunRequest(environment="staging", environment_variables_overrides=secrets)
    echo = f'bad key {api_key} and hush-hush and say \\"hush\\"\\n and 7 of 1789'
    for status in (422, 500):
        empirical.fault("trigger", "status", status=status, message=echo)
        with pytest.raises(EmpiricalError) as error:
            ask("trigger", request)
        told = f"{error.value} {error.value!r} {error.value.__cause__!r} {caplog.text}"
        assert "*** and *** of 1789" in str(error.value)
        for secret in (api_key, "hush-hush", 'say "hush"', 'say \\"hush'):
            assert secret not in told


def test_long_words_of_the_service_are_cut(empirical: Emulator, ask: Twin) -> None:
    """A long or many-lined message of the service becomes one line of 500 characters."""
    empirical.fault("get_test_run", "status", status=400, message="line\n\x1b[31m" + "x" * 2000)
    with pytest.raises(InvalidRequestError) as error:
        ask("get_test_run", 456)
    assert f'"line [31m{"x" * 491}…"' in str(error.value)
    assert "\n" not in str(error.value)


def test_a_client_shows_and_pickles_no_key(api_key: str) -> None:
    """The repr of a client names the host only, and a client cannot be pickled."""
    with EmpiricalClient(api_key=api_key) as client:
        assert repr(client) == "EmpiricalClient(base_url='https://dash.empirical.run')"
        assert api_key not in repr(vars(client))
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(client)
