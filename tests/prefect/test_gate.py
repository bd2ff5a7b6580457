"""The tasks that wait: every outcome, what they show, and what they never do twice."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)

from empirical_provider import (
    AuthenticationError,
    EmpiricalError,
    GateClosedError,
    InvalidRequestError,
    NoTestsError,
    RunCancelledError,
    RunErroredError,
    RunSupersededError,
    TestsFailedError,
    WaitTimedOutError,
    exceptions,
)
from empirical_provider.emulator import Emulator
from empirical_provider.models import TestResult, TestRun, TestRunState
from empirical_provider.policy import GatePolicy
from empirical_provider.prefect import (
    EmpiricalCredentials,
    arun_tests,
    await_for_test_run,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)
from empirical_provider.prefect.report import markdown
from empirical_provider.verdict import judge

if TYPE_CHECKING:
    from conftest import Twin

pytestmark = pytest.mark.deployment  # so many waits on a real server take minutes

FAST = {"poll_interval": 0.05}
"""The local Empirical moves a run each time it is read."""

OUTCOMES: dict[str, tuple[dict[str, Any], dict[str, Any], str, type[GateClosedError] | None]] = {
    # script of the run, arguments of the wait, outcome, error
    "passed": ({"outcome": "passed", "total": 48}, {}, "passed", None),
    "failed": ({"outcome": "failed", "total": 10, "failed": 3}, {}, "failed", TestsFailedError),
    "snoozed": ({"outcome": "snoozed"}, {}, "passed", None),
    "snoozed_count": (
        {"outcome": "snoozed"},
        {"policy": {"count_snoozed_failures": True}},
        "failed",
        TestsFailedError,
    ),
    "flaky": ({"outcome": "flaky"}, {}, "passed", None),
    "too_flaky": (
        {"outcome": "flaky"},
        {"policy": GatePolicy(max_flaky=0)},
        "failed",
        TestsFailedError,
    ),
    "error": ({"outcome": "error"}, {}, "error", RunErroredError),
    "cancelled": ({"outcome": "cancelled"}, {}, "cancelled", RunCancelledError),
    "superseded": ({"outcome": "superseded"}, {}, "superseded", RunSupersededError),
    "superseded_skips": (
        {"outcome": "superseded"},
        {"policy": {"superseded": "skip"}},
        "superseded",
        None,
    ),
    "failed_passes": ({"outcome": "failed"}, {"policy": {"failed": "pass"}}, "failed", None),
    "passed_fails": (
        {"outcome": "passed"},
        {"policy": {"passed": "fail"}},
        "passed",
        GateClosedError,
    ),
    "no_tests": ({"outcome": "no_tests"}, {}, "no_tests", NoTestsError),
    "too_few_tests": (
        {"outcome": "passed", "total": 3},
        {"policy": {"min_tests": 4}},
        "no_tests",
        NoTestsError,
    ),
    "stuck": ({"outcome": "stuck"}, {"timeout": 0.3}, "timed_out", WaitTimedOutError),
    "stuck_skips": (
        {"outcome": "stuck"},
        {"timeout": 0.3, "policy": {"timed_out": "skip"}},
        "timed_out",
        None,
    ),
    "pending": ({"outcome": "pending"}, {"start_timeout": 0.3}, "timed_out", WaitTimedOutError),
}


def _judged(call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], GateClosedError | None]:
    """Return the verdict and the error that carried it, if one did."""
    try:
        return call(), None
    except GateClosedError as error:
        return error.verdict or {}, error


@pytest.mark.parametrize(
    ("case", "whole"),
    [
        *((case, False) for case in OUTCOMES),
        *((case, True) for case in ("passed", "failed", "superseded_skips", "stuck")),
    ],
)
def test_each_outcome(  # each is a fixture, passed by name
    case: str,
    whole: bool,
    waiting: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
) -> None:
    """The same run gives the same verdict to a wait and to a trigger with a wait; red raises."""
    script, arguments, outcome, raises = OUTCOMES[case]
    empirical.script("staging", **script)
    running = type(waiting)(arun_tests if waiting.is_async else run_tests)

    if whole:
        call = {"environment": "staging", "credentials": credentials, **FAST, **arguments}
        verdict, error = _judged(lambda: running(**call))
    else:
        run = trigger_test_run.fn(credentials=credentials, environment="staging")
        call = {"test_run_id": run["id"], "credentials": credentials, **FAST, **arguments}
        verdict, error = _judged(lambda: waiting.without_prefect(**call))

    (made,) = empirical.runs
    assert (verdict["run_id"], verdict["outcome"]) == (made.id, outcome)
    assert type(error) is (type(None) if raises is None else raises)
    if error is not None:
        assert str(error).startswith(f"Empirical test run {made.id} ")
        assert (error.run_id, error.run_url) == (made.id, verdict["url"])
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.verdict) == (type(error), str(error), verdict)
    expected = "fail" if error else arguments.get("policy", {"": "pass"})
    if isinstance(expected, dict):
        expected = expected.get(outcome, "pass")
    assert verdict["decision"] == expected


def test_the_twins_have_the_same_parameters_and_options() -> None:
    """Waiting has the same names everywhere, and running takes what triggering and waiting do."""
    for one, twin in ((wait_for_test_run, await_for_test_run), (run_tests, arun_tests)):
        assert inspect.signature(one.fn) == inspect.signature(twin.fn)
        assert (one.name, one.description, one.cache_policy, one.retry_condition_fn) == (
            twin.name,
            twin.description,
            twin.cache_policy,
            twin.retry_condition_fn,
        )
        assert (one.isasync, twin.isasync) == (False, True)
        assert one.cache_policy == NO_CACHE
        assert one.persist_result is not True
    of_the_wait = [*inspect.signature(wait_for_test_run.fn).parameters]
    assert of_the_wait[:2] == ["credentials", "test_run_id"]
    assert [*inspect.signature(run_tests.fn).parameters] == [
        *inspect.signature(trigger_test_run.fn).parameters,
        *of_the_wait[2:],
    ]


@pytest.mark.parametrize("run_id", [True, 0, -1, 4.0, "", " 4", "4 ", "04", "+4", "٤", "4_0", None])
def test_only_an_id_is_taken_for_one(
    run_id: Any, waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """What is not an id, but could be read as one with good will, is refused without a request."""
    with pytest.raises(InvalidRequestError, match="test_run_id must be"):
        waiting.without_prefect(credentials=credentials, test_run_id=run_id)

    assert empirical.requests == []


@pytest.mark.usefixtures("empirical")
def test_an_id_may_be_a_text_of_digits(waiting: Twin, credentials: EmpiricalCredentials) -> None:
    """The id as a flow's parameter or a template gives it is understood."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")

    assert waiting.without_prefect(credentials=credentials, test_run_id=str(run["id"]), **FAST)[
        "outcome"
    ] == ("passed")


@pytest.mark.parametrize(
    "bad",
    [
        {"policy": {"fialed": "pass"}},
        {"poll_interval": 0},
        {"timeout": float("inf")},
        {"start_timeout": -1},
    ],
)
def test_a_bad_wait_starts_nothing(
    bad: dict[str, Any], running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """An argument of the wait is checked before the run is started, not after."""
    with pytest.raises(InvalidRequestError, match=next(iter(bad))):
        running.without_prefect(credentials=credentials, environment="staging", **bad)

    assert empirical.requests == []


def test_red_is_not_retried(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A red verdict burns no retries of the task: one run, one attempt."""
    empirical.script("staging", "failed")

    with pytest.raises(TestsFailedError):
        running.with_options(retries=2)(credentials=credentials, environment="staging", **FAST)

    assert len(empirical.runs) == 1
    looks = [each for each in empirical.requests if each.endpoint == "get_test_run"]
    assert len(looks) <= 4  # as many as one wait takes, with one for the page


def test_trouble_while_waiting_is_survived(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """An outage and broken JSON while waiting do not decide about the release."""
    empirical.fault("get_test_run", "status", status=503, times=3)
    empirical.fault("get_test_run", "malformed", times=2)

    verdict = running(credentials=credentials, environment="staging", **FAST)

    assert verdict["outcome"] == "passed"


def test_an_error_never_cancels_the_run(
    waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A key that is refused while waiting ends the wait, and the run goes on."""
    empirical.script("staging", "stuck")
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    empirical.fault("get_test_run", "status", status=401)

    with pytest.raises(AuthenticationError):
        waiting.without_prefect(credentials=credentials, test_run_id=run["id"], **FAST)

    assert "cancel_test_run" not in [each.endpoint for each in empirical.requests]


def test_a_retry_of_the_flow_judges_the_run_of_its_first_attempt(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The second attempt waits for the run that was started, and starts none."""
    call = {"credentials": credentials, "environment": "staging", **FAST}

    state = running.in_flow(call, failures=1, retries=1, persist_result=True)

    (made,) = empirical.runs
    assert [each["run_id"] for each in state.result()] == [made.id]


def test_a_second_wait_for_a_run_looks_again(
    waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """In one flow with persisted results no wait takes an earlier one's verdict over."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    call = {"credentials": credentials, "test_run_id": run["id"], **FAST}

    waiting.in_flow(call, call, persist_result=True).result()

    looks = [each for each in empirical.requests if each.endpoint == "get_test_run"]
    assert len(looks) == 4  # queued, started, ended; and ended once more


def test_one_task_run_waits(
    waiting: Twin,
    credentials: EmpiricalCredentials,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """However many looks a wait takes, Prefect has one task run for it."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    state = waiting.in_flow({"credentials": credentials, "test_run_id": run["id"], **FAST})

    this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    (one,) = eventually(lambda: server.read_task_runs(flow_run_filter=this))
    assert one.name.startswith("wait-for-test-run")


def _pages(server: SyncPrefectClient, state: Any) -> list[Any]:
    ours = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
        key=ArtifactFilterKey(any_=["empirical-verdict"]),
    )
    return server.read_artifacts(artifact_filter=ours)


def test_the_verdict_is_a_page_and_an_event(  # noqa: PLR0917  # each is a fixture, passed by name
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    server: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
    api_key: str,
) -> None:
    """A person finds counts, failed tests and link; an automation the two events; none the key."""
    emitted: list[Any] = []
    monkeypatch.setattr(
        "prefect.events.emit_event", lambda event, **rest: emitted.append((event, rest))
    )
    empirical.script("staging", "failed", total=30, failed=22)

    state = running.in_flow({"credentials": credentials, "environment": "staging", **FAST})

    with pytest.raises(TestsFailedError) as caught:
        state.result()
    assert caught.value.verdict is not None
    (page,) = _pages(server, state)
    url = caught.value.run_url
    assert f"## Empirical test run {empirical.runs[0].id} in staging failed: 22 of 30" in page.data
    assert f"[Open the test run]({url})" in page.data
    assert "| tests failed | 22 |" in page.data
    assert "- and 2 more" in page.data
    names = caught.value.verdict["failed_tests"]
    assert len(names) == page.data.count("\n- ") - 1 == 20
    (triggered, finished) = emitted
    resource = {
        "prefect.resource.id": f"empirical.test-run.{empirical.runs[0].id}",
        "prefect.resource.name": f"Empirical test run {empirical.runs[0].id}",
    }
    assert triggered[0] == "empirical.test-run.triggered"
    assert finished[0] == "empirical.test-run.finished"
    assert triggered[1]["resource"] == finished[1]["resource"] == resource
    assert triggered[1]["payload"]["environment"] == "staging"
    assert finished[1]["payload"] == caught.value.verdict
    assert api_key not in f"{page.data}{emitted}{caught.value.verdict}"


def test_the_server_has_the_events(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """Both events are stored, about the run and related to the flow run."""
    from prefect import flow  # noqa: PLC0415

    @flow
    def gated() -> None:
        run_tests(credentials=credentials, environment="staging", **FAST)

    state = gated(return_state=True)
    about = f"empirical.test-run.{empirical.runs[0].id}"
    flow_run = f"prefect.flow-run.{state.state_details.flow_run_id}"

    def stored() -> Any:
        answer = server._client.post(
            "/events/filter",
            json={"filter": {"event": {"prefix": ["empirical."]}, "related": {"id": [flow_run]}}},
        )
        found = answer.json().get("events", [])
        return found if len(found) == 2 else None

    events = eventually(stored)
    assert {each["event"] for each in events} == {
        "empirical.test-run.triggered",
        "empirical.test-run.finished",
    }
    assert {each["resource"]["prefect.resource.id"] for each in events} == {about}


def test_a_run_that_goes_on_has_not_finished(
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the wait is given up there is no event that says the run has finished."""
    emitted: list[str] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda event, **_: emitted.append(event))
    empirical.script("staging", "stuck")

    with pytest.raises(WaitTimedOutError):
        running(credentials=credentials, environment="staging", timeout=0.2, **FAST)

    assert emitted == ["empirical.test-run.triggered"]


def test_what_cannot_be_shown_does_not_decide(
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without artifacts, labels and events the verdict is what it is, and warnings say the rest."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the server is away")

    for name in ("link", "markdown"):
        monkeypatch.setattr(f"prefect.artifacts.create_{name}_artifact", fail)
        monkeypatch.setattr(f"prefect.artifacts.acreate_{name}_artifact", fail)
    monkeypatch.setattr("prefect.events.emit_event", fail)
    monkeypatch.setattr("empirical_provider.prefect.showing.get_client", fail)

    state = running.in_flow({"credentials": credentials, "environment": "staging", **FAST})

    assert [each["outcome"] for each in state.result()] == ["passed"]
    told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    start = f"Empirical test run {empirical.runs[0].id}: could not"
    assert {each.rpartition(": ")[0] for each in told} == {
        f"{start} {what}"
        for what in (
            "link it by an artifact",
            "label the flow run",
            "emit the event that it is triggered",
            "show the verdict by an artifact",
            "emit the event that it is finished",
        )
    }


def test_names_of_tests_mean_only_themselves_on_the_page() -> None:
    """A test cannot smuggle a link, a heading, HTML or a table cell onto the page."""
    evil = "log in\n# [x](https://evil.example.com) <img src=x> | `a` **b** _c_ ![d](e) \\ &lt;"
    run = TestRun(
        id=4,
        state=TestRunState.ENDED,
        failed_count_after_snoozing=1,
        total_count=2,
        branch=evil,
        tests=(TestResult(name=evil, status="failed"),),
    )

    page = markdown(judge(run, GatePolicy()))

    (name,) = re.findall(r"^- (.*)$", page, re.MULTILINE)
    assert name.startswith("log in &#35; &#91;x&#93;&#40;https://evil.example.com&#41; &#60;img")
    assert not set(name) & set("[]()<>|`*_!\\")
    assert [line.count("|") for line in page.splitlines() if "branch" in line] == [3]


def test_it_can_be_submitted(credentials: EmpiricalCredentials, empirical: Emulator) -> None:
    """In the task runner's threads two runs at a time are triggered, awaited and told apart."""
    from prefect import flow  # noqa: PLC0415

    empirical.script("staging", "failed")

    @flow
    def gated() -> list[Any]:
        futures = [
            run_tests.submit(credentials=credentials, environment=each, **FAST)
            for each in ("production", "staging")
        ]
        return [each.result(raise_on_failure=False) for each in futures]

    passed, failed = gated()

    assert passed["outcome"] == "passed"
    assert isinstance(failed, TestsFailedError)
    assert failed.run_id != passed["run_id"]


def test_every_way_to_be_closed_is_in_the_table() -> None:
    """No error of a closed gate is left out above."""
    closed = {each for each in vars(exceptions).values() if isinstance(each, type)}
    leaves = {each for each in closed if issubclass(each, GateClosedError)}

    assert {row[3] for row in OUTCOMES.values() if row[3]} == leaves
    assert issubclass(GateClosedError, EmpiricalError)
