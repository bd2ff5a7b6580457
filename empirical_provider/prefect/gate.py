"""The tasks that wait for a test run and judge it, and their async twins.

They only translate: the core waits and judges. One task waits; there is no task run for each look.
Neither is ever cached, as a verdict is that of this very wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from empirical_provider.exceptions import REJECTIONS, WaitTimedOutError
from empirical_provider.prefect.arguments import (
    acredentials_of,
    attached_to,
    credentials_of,
    run_id_of,
    waiting_of,
)
from empirical_provider.prefect.cancelling import aguarded, guarded
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.reporting import (
    acheck_report_path,
    awrite_verdict,
    check_report_path,
    write_verdict,
)
from empirical_provider.prefect.showing import (
    Progress,
    alabel_flow_run,
    ameanwhile,
    ashow_verdict,
    label_flow_run,
    meanwhile,
    show_verdict,
)
from empirical_provider.prefect.tasks import is_retryable
from empirical_provider.verdict import Verdict

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from empirical_provider.destinations import Destination
    from empirical_provider.prefect.tasks import Policy
    from empirical_provider.verdict import VerdictDict
    from empirical_provider.wait_options import WaitOptions

    TestRunId = int | str | Mapping[str, Any] | PrefectFuture[dict[str, Any]]

__all__ = [
    "a_verdict",
    "await_for_test_run",
    "await_verdict",
    "wait_for_test_run",
    "wait_for_verdict",
]


def a_verdict() -> VerdictDict:
    """Return a verdict for flows that are visualized: they read it, and go on with it."""
    data = {"run_id": 456, "outcome": "passed", "decision": "pass"}
    return Verdict.from_dict(data).as_dict()


_WAITS: dict[str, Any] = {
    "name": "wait-for-test-run",
    "description": "Wait for a test run on Empirical, and fail unless its tests passed.",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": is_retryable,
    "viz_return_value": a_verdict(),
}


@task(**_WAITS)
def wait_for_test_run(
    *,
    credentials: EmpiricalCredentials | str,
    test_run_id: TestRunId,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    expect_commit: str | None = None,
    cancel_on_cancellation: bool = True,
    report_path: Destination | None = None,
) -> VerdictDict:
    """Wait until a test run has finished, and return the verdict; red raises.

    Looks that fail are logged when the trouble changes and survived until the deadline. While it
    waits, the run's state is shown by an artifact with the key ``empirical-progress``; the verdict
    by one with the key ``empirical-verdict`` and, once the run has finished, by the event
    ``empirical.test-run.finished``.

    **Skip.** Where the policy says ``skip`` for an outcome, the verdict is returned like a green
    one, with the ``decision`` ``skip``: the flow can branch on it.

    **Retries.** With ``.with_options(retries=...)`` Prefect retries errors that may pass, and a
    time-out, by waiting on with all of the ``timeout`` again. It does not retry a red verdict: the
    run has finished, and stays red. A ``retry_condition_fn`` of yours takes the place of this rule.

    **Cancelling.** Called directly, a user's cancel of the flow run cancels the test run too: the
    wait is interrupted, and Prefect's server says that the flow run is Cancelling or Cancelled.
    Every other interruption leaves the test run alone: a process that is told to end for another
    reason, an error of a sibling, ``timeout_seconds``. A task that is submitted does not notice a
    cancel; for that, give the flow the hook `cancel_test_runs_on_cancellation`. This task does not
    know of the ``key`` with which a run was started: where others may wait for it, too, give
    ``cancel_on_cancellation=False``.

    Args:
        credentials: The block with the API key, or its name if it is saved.
        test_run_id: Database id of the run: 456, or "456"; or the run as `trigger_test_run` returns
            it, also as the future of its ``submit``.
        policy: What to do about each outcome: a `GatePolicy` or a mapping of its fields; by
            default everything but passed fails.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        timeout: Seconds after which to stop waiting; default 7200. The run goes on.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        expect_commit: The commit that must have been tested, where the service tells which was;
            either may be abbreviated. Default: any.
        cancel_on_cancellation: Whether a person's cancel of the flow run cancels the test run;
            default True. An error never does.
        report_path: Where to write the report on the verdict, before it is returned or raised:
            JSON if it ends in ``.json``, else JUnit XML. A local path, a URL of fsspec such as
            ``s3://bucket/junit.xml``, or a ``UPath``. Default: nowhere.

    Returns:
        The verdict as plain data, the way `Verdict.as_dict` gives it.

    Raises:
        GateClosedError: The gate stays closed; the class says why (`TestsFailedError`, ...), the
            text starts with the run, and ``verdict`` holds what would have been returned.
        ReportNotWrittenError: The gate is open, and the report is not there; ``verdict`` holds what
            would have been returned. Of a gate that is closed or skipped only the log tells that.
        InvalidRequestError: An argument is not valid.
        AuthenticationError: The key is not accepted (any more).
        NotFoundError: There is no such run, also after a minute.
    """
    credentials = credentials_of(credentials)
    options, run_id = waiting_of(locals()), run_id_of(test_run_id)
    credentials.logger.info("%s", attached_to(test_run_id))
    check_report_path(report_path)
    with guarded(credentials, run_id, cancel=cancel_on_cancellation):
        label = partial(label_flow_run, credentials, run_id, cancel=cancel_on_cancellation)
        return wait_for_verdict(credentials, run_id, options, report_path, label)


@task(**_WAITS)
async def await_for_test_run(
    *,
    credentials: EmpiricalCredentials | str,
    test_run_id: TestRunId,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,  # noqa: ASYNC109  # the twin's name
    start_timeout: float | None = None,
    expect_commit: str | None = None,
    cancel_on_cancellation: bool = True,
    report_path: Destination | None = None,
) -> VerdictDict:
    """Do what `wait_for_test_run` does, for use with ``await`` in an async flow."""
    credentials = await acredentials_of(credentials)
    options, run_id = waiting_of(locals()), run_id_of(test_run_id)
    credentials.logger.info("%s", attached_to(test_run_id))
    await acheck_report_path(report_path)
    async with aguarded(credentials, run_id, cancel=cancel_on_cancellation):
        label = partial(alabel_flow_run, credentials, run_id, cancel=cancel_on_cancellation)
        return await await_verdict(credentials, run_id, options, report_path, label)


def wait_for_verdict(
    credentials: EmpiricalCredentials,
    run_id: int,
    options: WaitOptions,
    report_path: Destination | None,
    show: Callable[[], object],
) -> VerdictDict:
    """Wait for a run, show and report what becomes of it, and return a verdict that is not red.

    Args:
        credentials: The block with the API key.
        run_id: Database id of the run.
        options: How to wait.
        report_path: Where to write the report.
        show: Shows in Prefect which run this is: meanwhile, as the wait does not depend on it.
    """
    from empirical_provider import wait  # light until used

    progress, began = Progress(credentials), time.monotonic()
    with meanwhile(show):
        while True:
            try:
                with credentials.get_client() as client:
                    verdict = wait.wait_for_test_run(
                        client,
                        run_id,
                        on_progress=progress.saw,
                        elapsed=time.monotonic() - began,
                        sleep=progress.pause,
                        log=credentials.logger,
                        **options.as_arguments(),
                    )
                break
            except REJECTIONS:
                reloaded = credentials.reloaded()
                if reloaded is None:
                    raise
                credentials = reloaded
    progress.show()
    show_verdict(credentials, verdict)
    write_verdict(credentials, verdict, report_path)
    return _opened(verdict)


async def await_verdict(
    credentials: EmpiricalCredentials,
    run_id: int,
    options: WaitOptions,
    report_path: Destination | None,
    show: Callable[[], Coroutine[Any, Any, object]],
) -> VerdictDict:
    """Do what `wait_for_verdict` does; waits in one event loop share their looks at the service."""
    from empirical_provider import wait  # light until used
    from empirical_provider.polling import shared_client

    progress, began = Progress(credentials), time.monotonic()
    async with ameanwhile(show):
        while True:
            settings = credentials._client_options()  # noqa: SLF001  # nobody else's business
            try:
                async with shared_client(run_id, **settings) as client:
                    sleep = client._sleep  # noqa: SLF001  # takes the polls
                    verdict = await wait.await_for_test_run(
                        client,
                        run_id,
                        on_progress=progress.saw,
                        elapsed=time.monotonic() - began,
                        sleep=partial(progress.apause, sleep=sleep),
                        log=credentials.logger,
                        **options.as_arguments(),
                    )
                break
            except REJECTIONS:
                reloaded = await credentials.areloaded()
                if reloaded is None:
                    raise
                credentials = reloaded
    await progress.ashow()
    await ashow_verdict(credentials, verdict)
    await awrite_verdict(credentials, verdict, report_path)
    return _opened(verdict)


def _opened(verdict: Verdict) -> VerdictDict:
    """Return the verdict as data, unless it closes the gate.

    After a time-out a task that only waits may wait on; one that starts the run decides by itself.
    """
    if verdict.is_closed:
        error = verdict.error()
        error.may_pass = error.may_pass or isinstance(error, WaitTimedOutError)
        raise error
    return verdict.as_dict()
