"""What users write on the core, under mypy --strict and pyright; it is checked and never run."""

from __future__ import annotations

from typing import Any, assert_type

import empirical_provider
from empirical_provider import (
    AlreadyFinishedError,
    AsyncEmpiricalClient,
    AuthenticationError,
    BillingError,
    Build,
    Concurrency,
    Counts,
    CountsDict,
    Decision,
    EmpiricalClient,
    EmpiricalError,
    Environment,
    EnvironmentVariable,
    GateClosedError,
    GatePolicy,
    InvalidRequestError,
    NoAnswerError,
    NoTestsError,
    NotFoundError,
    NotSentError,
    Outcome,
    PreflightReport,
    Project,
    RateLimitedError,
    ReportNotWrittenError,
    RunCancelledError,
    RunErroredError,
    RunIncompleteError,
    RunReport,
    RunSupersededError,
    ServerError,
    TestResult,
    TestRun,
    TestRunRequest,
    TestRunState,
    TestsFailedError,
    Timeouts,
    TriggerOnce,
    TriggerOutcomeUnknownError,
    TriggerRejectedError,
    UnreadableAnswerError,
    Verdict,
    VerdictDict,
    WaitTimedOutError,
    WebhookEvent,
    WebhookRefusedError,
    WrongCommitError,
    apreflight,
    atrigger_test_run,
    await_for_test_run,
    preflight,
    read_webhook,
    run_report,
    trigger_test_run,
    wait_for_test_run,
    write_report,
)
from empirical_provider.emulator import Behaviour, Emulator, RecordedRequest, RunSnapshot

assert_type(empirical_provider.__version__, str)

PLAIN = TestRunRequest(
    environment="staging",
    build={"url": "https://pr-7.example.com", "commit": "4f0c2d1"},
    metadata={"release": 7, "by": "ada"},
    environment_variables_overrides={"MODE": "fast"},
    tags=["@smoke"],
    test_case_ids=("a", "b"),
    total_shards=4,
    send_notifications=False,
    github_actor="ada",
    concurrency={"group": "staging", "on_conflict": "wait"},
)
TYPED = TestRunRequest(
    environment="staging",
    build=Build(url="https://pr-7.example.com"),
    environment_variables_overrides=[EnvironmentVariable(name="MODE", value="fast")],
    concurrency=Concurrency(group="staging", on_conflict="cancel"),
)
POLICY = GatePolicy(superseded="skip", cancelled=Decision.FAIL, min_tests=5)


def started(run: TestRun) -> None:
    assert_type(run.id, int)
    assert_type(run.state, TestRunState)
    assert_type(run.url, str | None)
    assert_type(run.tests, tuple[TestResult, ...])
    assert_type(run.as_dict(), dict[str, Any])


def gate() -> Verdict:
    with EmpiricalClient(api_key="k", timeout=Timeouts(trigger=30), retry_for=10) as client:
        assert_type(preflight(client, PLAIN), PreflightReport)
        once = TriggerOnce(key="release 7", generation=1)
        run = trigger_test_run(client, TYPED, key=once, on_started=started, save=print)
        assert_type(run, TestRun)
        verdict = wait_for_test_run(
            client, run.id, policy={"no_tests": "pass"}, timeout=60, on_progress=started
        )
        assert_type(client.rerun_test_run(run.id, only_failed=True), TestRun)
        assert_type(client.list_environments(), list[Environment])
        assert_type(client.get_project(7), Project)
        for each in client.list_test_runs(state="ended", per_page=10):
            started(each)
        client.cancel_test_run(run.id, reason="no longer needed")
        report = run_report(client.get_test_run(run.id), POLICY)
    assert_type(report, RunReport)
    write_report(report, "junit.xml")
    return verdict


async def agate() -> Verdict:
    async with AsyncEmpiricalClient(api_key="k") as client:
        assert_type(await apreflight(client, PLAIN), PreflightReport)
        run = await atrigger_test_run(client, TYPED, key="release 7", key_in_environment=True)
        assert_type(run, TestRun)
        async for each in client.list_test_runs(environment_ids=[1, 2]):
            started(each)
        return await await_for_test_run(client, run.id, policy=POLICY, expect_commit="4f0c2d1")


def judged(verdict: Verdict) -> bool:
    assert_type(verdict.outcome, Outcome)
    assert_type(verdict.decision, Decision)
    assert_type(verdict.counts, Counts)
    assert_type(verdict.as_dict(), VerdictDict)
    assert_type(verdict.as_dict()["counts"], CountsDict)
    assert_type(verdict.error(), GateClosedError)
    assert_type(Verdict.from_dict(verdict.as_dict()), Verdict)
    return verdict.decision is Decision.PASS and not verdict.is_closed


def handled() -> str | None:
    try:
        gate()
    except (TestsFailedError, RunIncompleteError, WrongCommitError) as red:
        assert_type(red.run_url, str | None)
        return red.run_url
    except (RunCancelledError, RunErroredError, RunSupersededError, NoTestsError):
        return "no verdict"
    except (WaitTimedOutError, GateClosedError) as closed:
        return str(closed)
    except (TriggerOutcomeUnknownError, TriggerRejectedError, ReportNotWrittenError):
        return "look"
    except (AuthenticationError, BillingError, InvalidRequestError, NotFoundError) as error:
        assert_type(error.run_id, int | None)
        return "mend"
    except (NotSentError, NoAnswerError, RateLimitedError, ServerError) as trouble:
        assert_type(trouble.may_pass, bool)
    except (AlreadyFinishedError, UnreadableAnswerError):
        pass
    except EmpiricalError:
        raise
    return "again"


def hook(body: bytes, headers: dict[str, str], secret: str) -> int | None:
    try:
        event = read_webhook(body, headers, secrets=[secret])
    except WebhookRefusedError:
        return None
    assert_type(event, WebhookEvent)
    return event.test_run_id if event.may_tell_the_end else None


def local() -> None:
    with Emulator(api_keys=["k"]) as empirical:
        empirical.script("staging", "failed", total=10, failed=2)
        empirical.fault("trigger", "drop", when="after")
        assert_type(empirical.behave(list_lag=2), Behaviour)
        assert_type(empirical.url, str)
        assert_type(empirical.runs, list[RunSnapshot])
        assert_type(empirical.requests, list[RecordedRequest])
