"""The task that starts a test run and waits for it, and its async twin.

They only translate, like the tasks that do the one or the other, of which they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from empirical_provider.exceptions import (
    ReportNotWrittenError,
    RunCancelledError,
    RunErroredError,
    TestsFailedError,
    WaitTimedOutError,
)
from empirical_provider.hiding import hidden_overrides
from empirical_provider.prefect.arguments import (
    acredentials_of,
    credentials_of,
    masking,
    waiting_of,
)
from empirical_provider.prefect.calls import flow_run_here
from empirical_provider.prefect.cancelling import aguarded, guarded
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.gate import a_verdict, await_verdict, wait_for_verdict
from empirical_provider.prefect.reporting import acheck_report_path, check_report_path
from empirical_provider.prefect.showing import ashow_run, show_run
from empirical_provider.prefect.starting import astart_unshown, start_unshown
from empirical_provider.prefect.tasks import is_retryable

if TYPE_CHECKING:
    from empirical_provider.destinations import Destination
    from empirical_provider.models import Build, Concurrency
    from empirical_provider.prefect.job import AfterRed
    from empirical_provider.prefect.tasks import Overrides, Policy
    from empirical_provider.verdict import VerdictDict

__all__ = ["arun_tests", "run_tests"]

_RUNS: dict[str, Any] = {
    "name": "run-tests",
    "description": "Start a test run on Empirical, wait for it, and fail unless its tests passed.",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": is_retryable,
    "viz_return_value": a_verdict(),
}


@task(**_RUNS)
def run_tests(
    *,
    credentials: EmpiricalCredentials | str,
    environment: str,
    build: Build | Mapping[str, str] | None = None,
    branch: str | None = None,
    metadata: Mapping[str, str | int | float] | None = None,
    environment_variables_overrides: Overrides | None = None,
    tags: Iterable[str] | None = None,
    test_case_ids: Iterable[str] | None = None,
    total_shards: int | None = None,
    send_notifications: bool | None = None,
    github_actor: str | None = None,
    concurrency: Concurrency | Mapping[str, str] | Literal[False] | None = None,
    add_context_metadata: bool = True,
    key: str | None = None,
    key_in_environment: bool | None = None,
    on_retry_after_red: AfterRed = "fail",
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    expect_commit: str | bool = True,
    cancel_on_cancellation: bool | None = None,
    report_path: Destination | None = None,
) -> VerdictDict:
    """Start a test run, wait until it has finished, and return the verdict; red raises.

    It is `trigger_test_run` and `wait_for_test_run` in one task, and all they say holds.

    **Retries.** A retry of the flow, or of a flow run whose process has crashed, goes on with the
    run of the attempt before: it waits on for a run that still goes on, and takes over the verdict
    of one that has ended, red ones included. With ``.with_options(retries=...)`` Prefect retries
    errors that may pass and, in a flow or with a ``key``, a run that ended in error or was
    cancelled, by a new run, and a time-out, by waiting on; and red where ``on_retry_after_red`` has
    the tests run again.

    Args:
        credentials: As for `trigger_test_run`, like all that follow down to the policy.
        environment: Slug of the environment to test.
        build: The application build under test.
        branch: Branch of the test repository; not together with ``build``.
        metadata: Shown with the run.
        environment_variables_overrides: Environment variables for the tests.
        tags: Only tests that match these tags run.
        test_case_ids: Only these tests run.
        total_shards: Number of shards, at least 1.
        send_notifications: Whether Empirical sends its notifications.
        github_actor: GitHub login that is shown as the person who started the run.
        concurrency: A `Concurrency` or a mapping of its fields; False: out of the shared queue.
        add_context_metadata: Whether to add where the run comes from to the metadata.
        key: What the run is for, such as a release id: who uses the same key shares the run.
        key_in_environment: Whether the key travels in the environment of the tests, too; default
            yes.
        on_retry_after_red: What a retry makes of red tests: ``fail``, the default, takes them over,
            ``rerun_failed`` re-runs those that failed, ``rerun_all`` all.
        policy: As for `wait_for_test_run`, like all that follow.
        poll_interval: Seconds between two looks; default 10.
        timeout: Seconds to wait for the run once it is started; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        expect_commit: The commit that must have been tested, where the service tells which was;
            default True: that of the build, if it names one. False: any.
        cancel_on_cancellation: Whether a person's cancel cancels the test run; default: yes,
            unless there is a ``key``, as others may wait for the run, too.
        report_path: Where to write the report on the verdict.

    Returns:
        The verdict as plain data, the way `Verdict.as_dict` gives it.

    Raises:
        GateClosedError: The gate stays closed.
        ReportNotWrittenError: The gate is open, and the report is not there. In a flow or with a
            ``key`` a retry goes on with the run, and writes it.
        EmpiricalError: Whatever else `trigger_test_run` and `wait_for_test_run` raise.
    """
    credentials = credentials_of(credentials)
    environment_variables_overrides = hidden_overrides(environment_variables_overrides)
    arguments = locals()
    options, cancel = waiting_of(arguments), _may_cancel(arguments)
    check_report_path(report_path)
    with guarded(credentials, cancel=cancel) as runs:
        run = start_unshown(arguments)
        runs[:] = [run.id]
        show = partial(show_run, credentials, run, cancel=cancel)
        with _retryable(arguments):
            return wait_for_verdict(masking(arguments), run.id, options, report_path, show)


@task(**_RUNS)
async def arun_tests(
    *,
    credentials: EmpiricalCredentials | str,
    environment: str,
    build: Build | Mapping[str, str] | None = None,
    branch: str | None = None,
    metadata: Mapping[str, str | int | float] | None = None,
    environment_variables_overrides: Overrides | None = None,
    tags: Iterable[str] | None = None,
    test_case_ids: Iterable[str] | None = None,
    total_shards: int | None = None,
    send_notifications: bool | None = None,
    github_actor: str | None = None,
    concurrency: Concurrency | Mapping[str, str] | Literal[False] | None = None,
    add_context_metadata: bool = True,
    key: str | None = None,
    key_in_environment: bool | None = None,
    on_retry_after_red: AfterRed = "fail",
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,  # noqa: ASYNC109  # the twin's name
    start_timeout: float | None = None,
    expect_commit: str | bool = True,
    cancel_on_cancellation: bool | None = None,
    report_path: Destination | None = None,
) -> VerdictDict:
    """Do what `run_tests` does, for use with ``await`` in an async flow."""
    credentials = await acredentials_of(credentials)
    environment_variables_overrides = hidden_overrides(environment_variables_overrides)
    arguments = locals()
    options, cancel = waiting_of(arguments), _may_cancel(arguments)
    await acheck_report_path(report_path)
    async with aguarded(credentials, cancel=cancel) as runs:
        run = await astart_unshown(arguments)
        runs[:] = [run.id]
        show = partial(ashow_run, credentials, run, cancel=cancel)
        with _retryable(arguments):
            return await await_verdict(masking(arguments), run.id, options, report_path, show)


def _may_cancel(arguments: Mapping[str, Any]) -> bool:
    asked: bool | None = arguments["cancel_on_cancellation"]
    return arguments["key"] is None if asked is None else asked


@contextmanager
def _retryable(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Say of an error that closes the gate whether a retry can open it: only if it is keyed.

    Tests that were red are so again, too few stay too few, and a run that a newer one has replaced
    would replace that one in turn.
    """
    keyed = arguments["key"] is not None or flow_run_here() is not None
    try:
        yield
    except TestsFailedError as error:
        error.may_pass = keyed and arguments["on_retry_after_red"] != "fail"
        raise
    except (RunErroredError, RunCancelledError, WaitTimedOutError) as error:
        error.may_pass = keyed
        raise
    except ReportNotWrittenError as error:
        error.may_pass = keyed and error.may_pass
        raise
