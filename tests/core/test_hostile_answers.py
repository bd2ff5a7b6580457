"""Every answer that a client reads, changed at random: an error of ours or a result, never a lie.

`make fuzz` tries more: FUZZ_EXAMPLES says how many answers, and then they are others each time.
"""

from __future__ import annotations

import json
import math
import os
import traceback
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from empirical_provider import (
    EmpiricalError,
    GatePolicy,
    Outcome,
    TestRun,
    TestRunRequest,
    run_report,
)
from empirical_provider.emulator import views
from empirical_provider.emulator.queries import CaseQuery
from empirical_provider.emulator.settings import Settings as EmulatorSettings
from empirical_provider.ended_runs import Cursor, Look
from empirical_provider.endpoints import (
    RunList,
    Sighting,
    cancel_test_run,
    get_test_run,
    list_test_runs,
    look_at_runs,
    rerun_test_run,
    trigger,
)
from empirical_provider.outcomes import result_of
from empirical_provider.project_endpoints import get_project, list_environments, list_test_cases
from empirical_provider.receiving import Answer
from empirical_provider.settings import Settings
from empirical_provider.verdict import judge
from tests.core.hostile import KEY, OVERRIDE, mutated, says_green
from tests.core.simulation import Service
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.endpoints import Call

LONG_RUN = int(os.environ.get("FUZZ_EXAMPLES", "0"))
ANSWERS = LONG_RUN or examples(36_000)
"""In all; each endpoint has its share."""

AT_A_TIME = 20
"""Answers to one example of hypothesis."""

SETTINGS = Settings.checked(
    api_key=KEY,
    base_url="http://127.0.0.1:1",
    project_id=None,
    project_slug=None,
    dashboard_url=None,
    timeout=None,
    retry_for=0,
)
REQUEST = TestRunRequest(environment="staging", environment_variables_overrides={"A": OVERRIDE})
STRICT = GatePolicy(count_snoozed_failures=True)
ENDS = (
    *("passed", "passed", "passed", "snoozed", "flaky", "failed", "error", "superseded"),
    "incomplete",
)
ENVIRONMENTS = EmulatorSettings(advance="time", state_seconds=1.0)


def service() -> Service:
    """Return an Empirical with a run for each of the ways in which one can end."""
    made = Service()
    for outcome in ENDS:
        made.state.script({"environment": "staging", "outcome": outcome, "runs": 1})
        made.state.trigger({"environment": "staging", "metadata": {"by": "me"}})
    made.turn(10 * 86_400)
    return made


SERVICE = service()
SERVICE.state.behave({"echo_in_detail": ["metadata"]})
NEWEST = SERVICE.runs[-1].id


def answers_to(call: Call[Any]) -> list[tuple[Call[Any], Any]]:
    return [(call, SERVICE._result(call))]


def endpoint_answers() -> dict[str, list[tuple[Call[Any], Any]]]:
    """Return calls with the right answers to them, by endpoint."""
    repeated = rerun_test_run(NEWEST)
    cases = views.test_cases_answer(CaseQuery.read({"per_page": "3"}))
    environments = views.environments_answer(ENVIRONMENTS, frozenset())
    return {
        "get": [pair for run in SERVICE.runs for pair in answers_to(get_test_run(run.id))],
        "trigger": answers_to(trigger(REQUEST)),
        "re-run": answers_to(repeated),
        "list": answers_to(list_test_runs(1, per_page=3)),
        "look": answers_to(look_at_runs(1, range(1, NEWEST + 1))),
        "cancel": [(cancel_test_run(1), {"message": "Test run 1 is being cancelled"})],
        "environments": [(list_environments(None), environments)],
        "test cases": [(list_test_cases(tag="@smoke"), cases)],
        "project": [(get_project(7), {"data": ENVIRONMENTS.project})],
    }


ENDPOINTS = endpoint_answers()
SHARES = {name: 12 if name == "get" else 1 for name in ENDPOINTS}
"""Most is at stake where verdicts come from."""


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Go through all that an error says, and those that it came of."""
    while error is not None:
        yield from (str(error), repr(error), repr(vars(error)))
        yield "".join(traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__


def says_no_secret(told: str, call: Call[Any]) -> bool:
    secrets = map(str, (KEY, *call.secrets))  # of the hidden ones, too
    forms = [form for each in secrets for form in (each, json.dumps(each)[1:-1], repr(each)[1:-1])]
    return not any(form in told for form in forms)


def runs_of(result: Any) -> list[TestRun]:
    if isinstance(result, TestRun):
        return [result]
    if isinstance(result, RunList):
        return list(result.runs)
    return list(result.runs.values()) if isinstance(result, Sighting) else []


def check(call: Call[Any], body: bytes) -> str:
    """Read an answer as a client does, and return what came of it."""
    try:
        result = result_of(SETTINGS, call, Answer(200, {}, body))
    except EmpiricalError as error:
        failure = error
    else:
        return check_result(result, call, body)
    assert all(says_no_secret(told, call) for told in texts_of(failure))
    assert len(str(failure)) < 2000
    if is_asked_for_a_run(call):
        assert not says_green(body, call.run_id or 0), "a green run is refused"
    return type(failure).__name__


def is_asked_for_a_run(call: Call[Any]) -> bool:
    return call.method == "GET" and call.run_id is not None


def check_result(result: Any, call: Call[Any], body: bytes) -> str:
    assert says_no_secret(repr(result), call)
    repr(result).encode()
    if isinstance(result, Sighting):
        cursor = Cursor.start(Look(listed=result.runs, since=max(0, result.oldest - 1), ended={}))
        assert Cursor.of(json.loads(json.dumps(cursor.as_dict()))) == cursor
    outcomes = [judged(run, call, body) for run in runs_of(result)]
    return outcomes[0] if call.run_id and outcomes else "read"


def judged(run: TestRun, call: Call[Any], body: bytes) -> str:
    """Judge a run, and hold a verdict on the run that was asked for against the text."""
    if not run.state.is_terminal:
        with pytest.raises(ValueError, match="nothing to judge yet"):
            judge(run, GatePolicy())
        return "not finished"
    verdict = judge(run, GatePolicy())
    told = json.dumps(verdict.as_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert len(told) < 200_000
    if is_asked_for_a_run(call):
        assert verdict.run_id == call.run_id
        green = verdict.outcome == Outcome.PASSED
        assert green == says_green(body, run.id)
        if judge(run, STRICT).outcome == Outcome.PASSED:
            assert says_green(body, run.id, snoozed_counts=True)
        run_report(run).as_json().encode()
        verdict.error()
    return verdict.outcome.value


def fuzz(name: str, answers: int, record: Any) -> None:
    """Try so many answers to an endpoint, and record what came of them."""
    tried: Counter[str] = Counter()
    ends: Counter[str] = Counter()

    @settings(
        max_examples=max(1, -(-answers // AT_A_TIME)),
        deadline=None,
        derandomize=not LONG_RUN,
        database=None,
        phases=(Phase.generate,),  # a smaller number makes no simpler answer
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def try_some(seed: int) -> None:
        random = Random(f"{name} {seed}")  # noqa: S311  # no secret
        for _ in range(AT_A_TIME):
            call, answer = random.choice(ENDPOINTS[name])
            sort, body = mutated(answer, random)
            try:
                ends[check(call, body)] += 1
            except BaseException as error:
                error.add_note(f"{sort}: {call.method} {call.path} {body[:3000]!r}")
                raise
            tried[sort] += 1

    try_some()
    record("answers tried", json.dumps(dict(tried)))
    record("what came of them", json.dumps(dict(ends)))
    print(f"\n{name}: {tried.total()} answers")  # noqa: T201  # make fuzz shows it
    print(f"  changed: {dict(tried)}\n  came to: {dict(ends)}")  # noqa: T201
    assert tried.total() >= answers


MOMENTS = [
    *("", "0", "-1", "5", "999999999", "9" * 400, "1e999", "nan", "\u0663", "\xb2", "\ud800"),
    *("Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:00:00", "Mon, 31 Feb 2026 10:00:00 Z"),
    *(f"Mon, 23 Nov 2026 10:00:00 {zone}" for zone in ("+9999", "-99999999", "+" + "9" * 30, "X")),
    *("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359", "1 Jan 99999 0:0 GMT"),
]
moments = st.sampled_from(MOMENTS) | st.text(max_size=40)


@pytest.mark.seconds
@settings(max_examples=examples(1000), deadline=None, derandomize=True, database=None)
@given(st.integers(100, 999), moments, moments, st.binary(max_size=60))
def test_no_status_and_no_moment_is_beyond_us(
    status: int, date: str, retry_after: str, body: bytes
) -> None:
    """Whatever stands in the status and in the headers that are read, it is an error of ours, and
    the wait that it asks for is a number of seconds."""
    answer = Answer(status, {"date": date, "retry-after": retry_after}, body)
    assert answer.sent_at is None or math.isfinite(answer.sent_at)
    with pytest.raises(EmpiricalError) as error:
        result_of(SETTINGS, get_test_run(1), answer)
    wait = error.value.retry_after
    assert wait is None or (wait >= 0 and math.isfinite(wait))


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_right_answers_are_read(name: str) -> None:
    """What is changed below is an answer that is read: a fuzzer of nothing would prove nothing."""
    for call, answer in ENDPOINTS[name]:
        body = json.dumps(answer).encode()
        result_of(SETTINGS, call, Answer(200, {}, body))
        check(call, body)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_some_hostile_answers(name: str, record_property: Any) -> None:
    """The same as the slow test, with few answers."""
    fuzz(name, 100 * SHARES[name] // 4, record_property)


@pytest.mark.slow
@pytest.mark.timeout(120 + ANSWERS // 50)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_many_hostile_answers(name: str, record_property: Any) -> None:
    """Whatever becomes of an answer on its way, it ends in one of our errors or in a result that
    says no secret; and a verdict is green if, and only if, the text says so of the run that was
    asked for."""
    fuzz(name, ANSWERS * SHARES[name] // sum(SHARES.values()), record_property)
