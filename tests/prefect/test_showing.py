"""What a person and an automation see in Prefect of a run and its verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient

from empirical_provider import (
    GatePolicy,
    TestResult,
    TestRun,
    TestRunState,
    TestsFailedError,
    WaitTimedOutError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, run_tests
from empirical_provider.prefect.report import markdown
from empirical_provider.verdict import judge

if TYPE_CHECKING:
    from conftest import Twin

FAST = {"poll_interval": 0.01}
"""The local Empirical moves a run each time it is read."""


def test_the_verdict_is_a_page_and_an_event(  # noqa: PLR0917  # each is a fixture, passed by name
    running: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    artifacts: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    api_key: str,
) -> None:
    """A person finds counts, failed tests and link; an automation the two events; none the key."""
    emitted: list[Any] = []
    monkeypatch.setattr(
        "prefect.events.emit_event", lambda event, **rest: emitted.append((event, rest))
    )
    empirical.script("staging", "failed", total=30, failed=22)

    state = running.state(credentials=credentials, environment="staging", **FAST)

    with pytest.raises(TestsFailedError) as caught:
        state.result()
    assert caught.value.verdict is not None
    (page,) = artifacts(state, "empirical-verdict")
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


@pytest.mark.slow
def test_the_server_has_the_events(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """Both events are stored, once however many attempts there are, and related to the flow run."""
    attempts = iter([1])

    @flow(retries=1)
    def gated() -> None:
        run_tests(credentials=credentials, environment="staging", **FAST)
        for _ in attempts:
            raise RuntimeError("the flow failed after its task")
        run_tests(credentials=credentials, environment="staging", **FAST)

    state = gated(return_state=True)
    flow_run = f"prefect.flow-run.{state.state_details.flow_run_id}"

    def stored() -> Any:
        answer = server._client.post(
            "/events/filter",
            json={"filter": {"event": {"prefix": ["empirical."]}, "related": {"id": [flow_run]}}},
        )
        return sorted(
            (each["event"], each["resource"]["prefect.resource.id"])
            for each in answer.json().get("events", [])
        )

    first, second = (f"empirical.test-run.{each.id}" for each in empirical.runs)
    # What comes last is there only after all that would have come before it.
    eventually(lambda: ("empirical.test-run.finished", second) in stored())
    assert stored() == [
        ("empirical.test-run.finished", first),
        ("empirical.test-run.finished", second),
        ("empirical.test-run.triggered", first),
        ("empirical.test-run.triggered", second),
    ]


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

    for name in ("link", "markdown", "progress"):
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
            "show its progress by an artifact",
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
    assert name.startswith("log in \\# \\[x\\]\\(https:\N{WORD JOINER}//evil.example.com\\) \\<img")
    assert not set(re.sub(r"\\.", "", name)) & set("[]()<>|`*_!\\&#")
    [branch] = [line for line in page.splitlines() if "branch" in line]
    assert re.sub(r"\\.", "", branch).count("|") == 3
