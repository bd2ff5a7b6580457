"""What users write in flows, under mypy --strict and pyright; it is checked and never run."""

# Annotations are real ones here: Prefect reads them where this module's names are not known.

from typing import Any, assert_type

from prefect import flow, task
from pydantic import SecretStr

from empirical_provider import (
    AsyncEmpiricalClient,
    Build,
    EmpiricalClient,
    GatePolicy,
    TestsFailedError,
    VerdictDict,
)
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    EmpiricalTestJobRun,
    apreflight,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    cancel_test_runs_on_cancellation,
    emit_test_run_events,
    is_retryable,
    preflight,
    run_empirical_tests,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

CREDENTIALS = EmpiricalCredentials(api_key=SecretStr("k"), project_id=7, timeout=5)


@flow(on_cancellation=[cancel_test_runs_on_cancellation])
def release(url: str) -> str:
    assert_type(preflight(credentials=CREDENTIALS, environment="staging"), dict[str, Any])
    preflight(credentials="prod", environment="staging", build=Build(branch="main"))
    overrides: dict[str, str | SecretStr] = {"TOKEN": SecretStr("t"), "MODE": "fast"}
    run = trigger_test_run(
        credentials=CREDENTIALS,
        environment="staging",
        build={"url": url},
        metadata={"release": 7},
        environment_variables_overrides=overrides,
        key="release 7",
        on_retry_after_red="rerun_failed",
    )
    assert_type(run, dict[str, Any])
    verdict = wait_for_test_run(
        credentials=CREDENTIALS, test_run_id=int(run["id"]), policy={"superseded": "skip"}
    )
    assert_type(verdict, VerdictDict)
    wait_for_test_run(credentials="prod", test_run_id=run)
    wait_for_test_run(
        credentials="prod",
        test_run_id=trigger_test_run.submit(credentials="prod", environment="staging"),
    )
    both = run_tests.with_options(retries=2)(
        credentials=CREDENTIALS,
        environment="staging",
        build=Build(url=url),
        policy=GatePolicy(min_tests=5),
        report_path="s3://reports/junit.xml",
    )
    return str(both["outcome"])


@flow
async def arelease(url: str) -> str:
    await apreflight(credentials=CREDENTIALS, environment="staging", tags=["@smoke"])
    await apreflight(credentials="prod", environment="staging", build={"branch": "main"})
    run = await atrigger_test_run(credentials=CREDENTIALS, environment="staging")
    assert_type(run, dict[str, Any])
    await await_for_test_run(
        credentials=CREDENTIALS, test_run_id=run["id"], expect_commit="4f0c2d1"
    )
    verdict = await arun_tests(
        credentials=CREDENTIALS, environment="staging", build={"url": url}, expect_commit=False
    )
    assert_type(verdict, VerdictDict)
    return str(verdict["decision"])


@flow
def by_the_job() -> VerdictDict:
    job = EmpiricalTestJob(credentials=CREDENTIALS, environment="staging", tags=["@smoke"])
    run = job.trigger(build={"commit": "4f0c2d1"})
    assert_type(run, EmpiricalTestJobRun)
    run.wait_for_completion(report_path="junit.xml")
    assert_type(run.url(), str | None)
    assert_type(run.status(), str)
    assert_type(run.cancel(), bool)
    return job.attach(456).fetch_result()


@flow
async def aby_the_job() -> VerdictDict:
    job = EmpiricalTestJob(credentials=CREDENTIALS, environment="staging")
    run = await job.atrigger(key="release 7")
    await run.await_for_completion()
    return await run.afetch_result()


async def blocks() -> None:
    assert_type(EmpiricalCredentials.load("prod"), EmpiricalCredentials)
    assert_type(await EmpiricalCredentials.aload("prod"), EmpiricalCredentials)
    assert_type(EmpiricalTestJob.load("smoke", validate=False), EmpiricalTestJob)


def clients() -> tuple[EmpiricalClient, AsyncEmpiricalClient]:
    return CREDENTIALS.get_client(), CREDENTIALS.get_async_client(retry_for=0)


async def prebuilt() -> None:
    ended = await emit_test_run_events(
        credentials="prod", environment=["staging"], outcome="failed"
    )
    assert_type(ended, dict[str, Any])
    verdict = run_empirical_tests(credentials="prod", environment="staging", timeout=3600)
    assert_type(verdict, VerdictDict)
    assert_type(verdict["counts"]["failed"], int | None)
    try:
        run_empirical_tests(credentials="prod", environment="staging")
    except TestsFailedError as error:
        if error.verdict is not None:
            assert_type(error.verdict["failed_tests"], list[str])


@task(retries=2, retry_condition_fn=is_retryable)
def tested_twice(version: str) -> str:
    return run_tests(credentials="prod", environment="staging", build={"version": version})[
        "summary"
    ]
