"""The response to a request that starts a run names the run that it started, or is not believed.

A proxy that replays, or a response left over on a connection, names another one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    InvalidRequestError,
    TestRunRequest,
    TriggerOutcomeUnknownError,
    TriggerRejectedError,
    UnreadableAnswerError,
)
from empirical_provider.endpoints import Call, rerun_test_run, trigger
from empirical_provider.outcomes import result_of
from empirical_provider.receiving import Answer
from empirical_provider.settings import Settings
from empirical_provider.trigger_key import TriggerKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

SETTINGS = Settings.checked(
    api_key="key",
    base_url="http://127.0.0.1:1",
    project_id=None,
    project_slug="acme",
    dashboard_url=None,
    timeout=None,
    retry_for=0,
)
STAGING = TestRunRequest(environment="staging")
KEY = TriggerKey.of("release 7", STAGING, api_key="key")
OTHER = TriggerKey.of("release 8", STAGING, api_key="key")
KEYED = KEY.put_into(STAGING, environment=True)


def variable(key: TriggerKey) -> list[dict[str, str]]:
    return [{"name": "EMPIRICAL_TRIGGER_KEY", "value": str(key)}]


def response(
    *, age: float = 0.0, date_age: float = 0.0, status: int = 200, success: bool = True, **run: Any
) -> Answer:
    """Return a response that names a run of so many seconds ago."""
    now = datetime.now(UTC)
    created = (now - timedelta(seconds=age)).isoformat()
    test_run = {"id": 7, "state": "queued", "created_at": created, **run}
    body = {"data": {"trigger": {"success": success}, "test_run": test_run}}
    date = format_datetime(now - timedelta(seconds=date_age), usegmt=True)
    return Answer(status, {"date": date}, json.dumps(body).encode())


YEARS = 6 * 365 * 86_400.0
NOT_THE_RUN: list[dict[str, Any]] = [
    {"age": YEARS},
    {"age": 3_600.0},
    {"age": 200.0},
    {"state": "ended"},
    {"state": "cancelled"},
    {"state": "ended", "age": YEARS},
    {"state": "error", "age": YEARS},
    {"success": False, "age": YEARS},
    {"environment_slug": "production"},
    {"metadata": {"trigger_key": str(OTHER)}},
    {"environment_variables_overrides": variable(OTHER)},
    {"metadata": {"trigger_key": "somebody's"}},
    {"rerun_source_id": 3},
]
THE_RUN: list[dict[str, Any]] = [
    {},
    {"age": 40.0},
    {"age": -30.0},
    {"age": -YEARS},
    {"created_at": None},
    {"created_at": "yesterday"},
    {"state": "pending"},
    {"state": "started"},
    {"state": "warming up"},
    {"environment_slug": "Staging"},
    {"metadata": {"trigger_key": str(KEY)}, "environment_variables_overrides": variable(KEY)},
    {"metadata": {}, "environment_variables_overrides": None, "rerun_source_id": None},
]


@pytest.mark.parametrize("named", NOT_THE_RUN, ids=str)
def test_another_run_is_not_believed(named: dict[str, Any]) -> None:
    """What is over, old, elsewhere or of another key was not started just now: it is not known."""
    with pytest.raises(TriggerOutcomeUnknownError, match="names test run 7, which") as error:
        result_of(SETTINGS, trigger(KEYED), response(**named))
    assert isinstance(error.value.__cause__, UnreadableAnswerError)


@pytest.mark.parametrize("named", THE_RUN, ids=str)
def test_what_may_be_the_run_is_it(named: dict[str, Any]) -> None:
    """Clocks that differ a little, and what is not told, leave the response what it is."""
    assert result_of(SETTINGS, trigger(KEYED), response(**named)).id == 7


def test_a_run_with_a_key_is_not_that_of_a_request_without_one() -> None:
    """Nor is one that shows a key where none was sent."""
    named = response(metadata={"trigger_key": str(OTHER)})
    with pytest.raises(TriggerOutcomeUnknownError, match="another key"):
        result_of(SETTINGS, trigger(STAGING), named)


@pytest.mark.parametrize(
    "named", [{"age": YEARS}, {"state": "ended"}, {"rerun_source_id": 4}], ids=str
)
def test_a_rerun_is_held_to_the_same(named: dict[str, Any]) -> None:
    """The response to a re-run names a new run, and one that repeats the right one."""
    shows = {"environment_variables_overrides": variable(OTHER)}  # inherited
    assert result_of(SETTINGS, rerun_test_run(3), response(rerun_source_id=3, **shows)).id == 7
    with pytest.raises(TriggerOutcomeUnknownError):
        result_of(SETTINGS, rerun_test_run(3), response(**{"rerun_source_id": 3, **named}))


# A refusal that names a run

START: list[Call[Any]] = [trigger(KEYED), rerun_test_run(3)]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 422, 429, 500, 502, 503])
@pytest.mark.parametrize("state", ["error", None, "ended"])
@pytest.mark.parametrize("call", START, ids=["trigger", "rerun"])
def test_a_refusal_that_names_a_run_is_a_rejection(
    status: int, state: str | None, call: Call[Any]
) -> None:
    """The run is there, could not start, and its page says why."""
    body = json.loads(response(state=state).body)
    body["error"] = {"message": "Merge conflict"}
    answer = Answer(status, response().headers, json.dumps(body).encode())
    with pytest.raises(TriggerRejectedError, match="Merge conflict") as error:
        result_of(SETTINGS, call, answer)
    assert error.value.status == status
    assert error.value.run_id == 7
    assert error.value.run_url == "http://127.0.0.1:1/acme/test-runs/7"
    assert str(error.value.run_url) in str(error.value)
    assert not error.value.may_pass


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"data": {"test_run": {"id": 7, "state": "queued"}}}, TriggerOutcomeUnknownError),
        (400, {"data": {"test_run": {"id": "7"}}}, InvalidRequestError),
        (400, {"data": {"test_run": None}}, InvalidRequestError),
        (400, {"data": []}, InvalidRequestError),
        (400, {"test_run": {"id": 7}}, InvalidRequestError),
        (
            400,
            {"data": {"test_run": {"id": 7, "created_at": "2020-01-01T00:00:00Z"}}},
            InvalidRequestError,
        ),
        (500, {"data": {"test_run": {"id": 0}}}, TriggerOutcomeUnknownError),
    ],
)
def test_other_refusals_stay_what_they_are(status: int, body: Any, kind: type[Exception]) -> None:
    """A run that is under way, one from long ago, and none at all are no rejection."""
    answer = Answer(status, response().headers, json.dumps(body).encode())
    with pytest.raises(kind) as error:
        result_of(SETTINGS, trigger(KEYED), answer)
    assert not isinstance(error.value, TriggerRejectedError)


# The whole way


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that has a proxy answer the next requests to start a run."""

    def answer_by(*answers: Answer, acts: bool) -> None:
        left = list(answers)
        exchange, aexchange = EmpiricalClient._exchange, AsyncEmpiricalClient._exchange

        def replaying(self: EmpiricalClient, call: Call[Any]) -> Any:
            if not (call.starts_run and left):
                return exchange(self, call)
            if acts:
                exchange(self, call)
            return left.pop(0)

        async def areplaying(self: AsyncEmpiricalClient, call: Call[Any]) -> Any:
            if not (call.starts_run and left):
                return await aexchange(self, call)
            if acts:
                await aexchange(self, call)
            return left.pop(0)

        monkeypatch.setattr(EmpiricalClient, "_exchange", replaying)
        monkeypatch.setattr(AsyncEmpiricalClient, "_exchange", areplaying)

    return answer_by


REPLAYED: list[dict[str, Any]] = [
    {"id": 999, "age": YEARS, "state": "ended"},
    {"id": 999, "age": YEARS},
    {"id": 999, "age": YEARS, "date_age": YEARS},  # as old as the run, as a proxy kept it
    {"id": 999, "age": 3_600.0, "date_age": 3_600.0},
    {"id": 999, "environment_slug": "production"},
]


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("named", REPLAYED, ids=str)
def test_with_a_key_the_run_is_found_instead(
    named: dict[str, Any],
    acts: bool,
    replay: Callable[..., None],
    empirical: Emulator,
    ask: Twin,
) -> None:
    """There is one run in the end, and it is the one that is returned."""
    replay(response(**named), acts=acts)
    run = ask.trigger_test_run(STAGING, key="release 7")
    assert [run.id] == [each.id for each in empirical.runs]


@pytest.mark.parametrize("named", REPLAYED, ids=str)
def test_without_a_key_it_is_not_known(
    named: dict[str, Any], replay: Callable[..., None], ask: Twin
) -> None:
    """Nothing can be looked up then, and a wrong run is never waited for."""
    replay(response(**named), acts=True)
    with pytest.raises(TriggerOutcomeUnknownError, match="names test run 999, which"):
        ask.trigger_test_run(STAGING)


@pytest.mark.parametrize("key", [None, "release 8"])
def test_a_run_that_was_started_here_before_is_not_the_new_one(
    key: str | None, replay: Callable[..., None], empirical: Emulator, ask: Twin
) -> None:
    """A response of a moment ago names a run of this very process: of another key, or of none."""
    first = ask.trigger_test_run(STAGING, key=key)
    replay(response(id=first.id, created_at=first.created_at), acts=False)
    run = ask.trigger_test_run(STAGING, key="release 7")
    assert [first.id, run.id] == [each.id for each in empirical.runs]
    replay(response(id=first.id, created_at=first.created_at), acts=False)
    with pytest.raises(TriggerOutcomeUnknownError, match="started here before"):
        ask.trigger_test_run(STAGING)


def test_a_shared_key_is_held_against_what_the_list_shows(
    replay: Callable[..., None], empirical: Emulator, ask: Twin
) -> None:
    """A response of a moment ago, of another process, is known by the key that its run shows."""
    empirical.behave(list_lag_reads=1)
    keyed = OTHER.put_into(STAGING, environment=True)
    other = ask("trigger", keyed)
    replay(response(id=other.id, created_at=other.created_at), acts=False)
    with pytest.raises(TriggerOutcomeUnknownError, match="of another key") as error:
        ask.trigger_test_run(STAGING, key="release 7")
    assert error.value.may_pass
    run = ask.trigger_test_run(STAGING, key="release 7")
    assert [other.id, run.id] == [each.id for each in empirical.runs]
    assert "cancel_test_run" not in [each.endpoint for each in empirical.requests]


def test_a_clock_of_ours_that_is_wrong_does_not_matter(empirical: Emulator, ask: Twin) -> None:
    """Where only our clock says that a run is old, the service is asked for the time."""
    empirical.behave(clock_skew=-7_200.0)
    assert ask.trigger_test_run(STAGING).id == empirical.runs[0].id
    assert ask.trigger_test_run(STAGING, key="k").id == empirical.runs[1].id
    assert len(empirical.runs) == 2


@pytest.mark.parametrize("acts", [True, False])
def test_a_clock_of_ours_that_is_behind_makes_no_run_younger(
    acts: bool, replay: Callable[..., None], empirical: Emulator, ask: Twin
) -> None:
    """The replayed run is an hour old by the service's clock, and one of the future by ours."""
    empirical.behave(clock_skew=7_200.0)
    replay(response(id=999, age=-3_600.0, date_age=-3_600.0), acts=acts)
    run = ask.trigger_test_run(STAGING, key="release 7")
    assert [run.id] == [each.id for each in empirical.runs]
