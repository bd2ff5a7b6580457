"""What users write in DAGs, under mypy --strict and pyright; it is checked and never run."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher, task

from empirical_provider import AsyncEmpiricalClient, EmpiricalClient, GatePolicy
from empirical_provider.airflow.exceptions import (
    EmpiricalGateClosedError,
    EmpiricalNoTestsError,
    EmpiricalRunCancelledError,
    EmpiricalRunErroredError,
    EmpiricalRunIncompleteError,
    EmpiricalRunSupersededError,
    EmpiricalTaskKilledError,
    EmpiricalTestsFailedError,
    EmpiricalTestsFailedRetryError,
    EmpiricalWaitTimedOutError,
    EmpiricalWrongCommitError,
)
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalPreflightOperator,
    EmpiricalTriggerTestRunOperator,
)
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor
from empirical_provider.airflow.triggers import (
    EmpiricalTestRunEventTrigger,
    EmpiricalTestRunTrigger,
)

ends = EmpiricalTestRunEventTrigger(environment="staging", outcome=["failed", "error"])
red = Asset("staging_tests_red", watchers=[AssetWatcher(name="empirical", trigger=ends)])

with DAG("release", schedule=[red]):
    look = EmpiricalPreflightOperator(task_id="look", environment="staging", tags=["@smoke"])
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        build={"url": "{{ ti.xcom_pull('release')['url'] }}", "commit": "{{ params.commit }}"},
        metadata={"release": 7},
        environment_variables_overrides=[{"name": "MODE", "value": "fast"}],
        total_shards="{{ params.shards }}",
        wait_for_completion=True,
        deferrable=True,
        timeout=3600,
        policy=GatePolicy(superseded="skip"),
        key="{{ params.release }}",
        key_in_environment=True,
        on_retry_after_red="rerun_failed",
        report_path="s3://my_aws@reports/{{ run_id }}.xml",
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
    wait = EmpiricalTestRunSensor(
        task_id="wait",
        test_run_id="{{ ti.xcom_pull('gate') }}",
        mode="reschedule",
        poke_interval=timedelta(minutes=1),
        policy={"min_tests": 5},
        expect_commit="{{ params.commit }}",
    )
    choose = EmpiricalBranchOperator(
        task_id="choose",
        follow_if_passed="promote",
        follow_if_failed=["roll_back", "tell"],
        trigger_rule="all_done",
    )
    look >> gate >> wait >> choose


@task
def deploy() -> dict[str, str]:
    return {"url": "https://staging.example.com", "commit": "c0ffee0"}


@task
def places() -> list[dict[str, str]]:
    return [{"environment": "staging"}, {"environment": "production"}]


with DAG("outputs", schedule=None):
    built = deploy()
    first = EmpiricalTriggerTestRunOperator(
        task_id="first",
        environment="staging",
        build=built,
        tags=["@smoke"],
        wait_for_completion=True,
        timeout=timedelta(hours=1),
        key="{{ run_id }}",
    )
    EmpiricalTestRunSensor(
        task_id="second", test_run_id=first.output, start_timeout=timedelta(minutes=5)
    )
    EmpiricalPreflightOperator(task_id="before", environment="staging", build=built)
    EmpiricalBranchOperator(task_id="ways", test_run_id=first.output, follow_if_passed="promote")
    EmpiricalTriggerTestRunOperator.partial(task_id="each").expand_kwargs(places())

trigger = EmpiricalTestRunTrigger(
    test_run_id=456, empirical_conn_id="empirical_default", started_at=0.0, deadline=7200.0
)


def by_the_hook() -> EmpiricalClient:
    return EmpiricalHook("empirical_default").get_conn(timeout=5)


async def by_the_hook_async() -> AsyncEmpiricalClient:
    return await EmpiricalHook("empirical_default").aget_conn()


def told(error: Exception) -> str | None:
    match error:
        case (
            EmpiricalTestsFailedError()
            | EmpiricalTestsFailedRetryError()
            | EmpiricalRunIncompleteError()
        ):
            return error.run_url
        case EmpiricalGateClosedError() | EmpiricalNoTestsError() | EmpiricalWrongCommitError():
            return str(error)
        case EmpiricalRunCancelledError() | EmpiricalRunErroredError():
            return "no verdict"
        case EmpiricalRunSupersededError() | EmpiricalWaitTimedOutError():
            return "later"
        case EmpiricalTaskKilledError():
            return str(EmpiricalTestRunLink().name)
    return None
