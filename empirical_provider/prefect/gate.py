"""The tasks that wait for a test run and judge it, and their async twins.

They only translate: the core waits and judges. One task waits; there is no task run for each look.
Neither is ever cached, as a verdict is that of this very wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from empirical_provider.prefect.arguments import run_id_of, waiting_of
from empirical_provider.prefect.cancelling import aguarded, guarded
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.showing import (
    alabel_flow_run,
    ashow_verdict,
    label_flow_run,
    show_verdict,
)
from empirical_provider.prefect.tasks import atrigger_test_run, may_pass, trigger_test_run

if TYPE_CHECKING:
    from empirical_provider.models import Build, Concurrency, TestRun
    from empirical_provider.policy import GatePolicy
    from empirical_provider.prefect.tasks import Logger, Overrides
    from empirical_provider.verdict import Verdict

    Policy = GatePolicy | Mapping[str, Any]

__all__ = ["arun_tests", "await_for_test_run", "run_tests", "wait_for_test_run"]

_WAITS: dict[str, Any] = {
    "name": "wait-for-test-run",
    "description": "Wait for a test run on Empirical, and fail unless its tests passed.",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": may_pass,
}
_RUNS: dict[str, Any] = {
    **_WAITS,
    "name": "run-tests",
    "description": "Start a test run on Empirical, wait for it, and fail unless its tests passed.",
}
_OF_THE_WAIT = {"policy", "poll_interval", "timeout", "start_timeout", "cancel_on_cancellation"}


@task(**_WAITS)
def wait_for_test_run(
    *,
    credentials: EmpiricalCredentials,
    test_run_id: int | str,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    cancel_on_cancellation: bool = True,
) -> dict[str, Any]:
    """Wait until a test run has finished, and return the verdict; red raises.

    Looks that fail are logged when the trouble changes and survived until the deadline. The
    verdict is shown by an artifact with the key ``empirical-verdict`` and, once the run has
    finished, by the event ``empirical.test-run.finished``.

    **Skip.** Where the policy says ``skip`` for an outcome, the verdict is returned like a green
    one, with the ``decision`` ``skip``: the flow can branch on it.

    **Retries.** With ``.with_options(retries=...)`` Prefect does not retry a red verdict: the run
    has finished, and stays red. A ``retry_condition_fn`` of yours takes the place of this rule.

    **Cancelling.** Called directly, a person's cancel of the flow run cancels the test run too.
    Prefect ends a task in the same way when its own ``timeout_seconds`` is up: use ``timeout`` for
    a wait that leaves the run alone. A task that is submitted does not notice a cancel; for that,
    give the flow the hook `cancel_test_runs_on_cancellation`.

    Args:
        credentials: The block with the API key.
        test_run_id: Database id of the run: 456, or "456".
        policy: What to do about each outcome: a `GatePolicy` or a mapping of its fields; by
            default everything but passed fails.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        timeout: Seconds after which to stop waiting; default 7200. The run goes on.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        cancel_on_cancellation: Whether a person's cancel of the flow run cancels the test run;
            default True. An error never does.

    Returns:
        The verdict as plain data, the way `Verdict.as_dict` gives it.

    Raises:
        GateClosedError: The gate stays closed; the class says why (`TestsFailedError`, ...), the
            text starts with the run, and ``verdict`` holds what would have been returned.
        InvalidRequestError: An argument is not valid.
        AuthenticationError: The key is not accepted (any more).
        NotFoundError: There is no such run, also after a minute.
    """
    waiting, run_id = waiting_of(locals()), run_id_of(test_run_id)
    with guarded(credentials, run_id, cancel=cancel_on_cancellation):
        label_flow_run(credentials, run_id, cancel=cancel_on_cancellation)
        return _wait(credentials, run_id, waiting)


@task(**_WAITS)
async def await_for_test_run(
    *,
    credentials: EmpiricalCredentials,
    test_run_id: int | str,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,  # noqa: ASYNC109  # the twin's name
    start_timeout: float | None = None,
    cancel_on_cancellation: bool = True,
) -> dict[str, Any]:
    """Do what `wait_for_test_run` does, for use with ``await`` in an async flow."""
    waiting, run_id = waiting_of(locals()), run_id_of(test_run_id)
    async with aguarded(credentials, run_id, cancel=cancel_on_cancellation):
        await alabel_flow_run(credentials, run_id, cancel=cancel_on_cancellation)
        return await _await(credentials, run_id, waiting)


@task(**_RUNS)
def run_tests(
    *,
    credentials: EmpiricalCredentials,
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
    concurrency: Concurrency | Mapping[str, str] | None = None,
    add_context_metadata: bool = True,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    cancel_on_cancellation: bool = True,
) -> dict[str, Any]:
    """Start a test run, wait until it has finished, and return the verdict; red raises.

    The start is the task `trigger_test_run`, run inside of this one, and all it says holds: a
    retry of the flow waits for the run that its first attempt has started, and gets its verdict,
    red ones included. The wait is that of `wait_for_test_run`.

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
        concurrency: A `Concurrency` or a mapping of its fields.
        add_context_metadata: Whether to add where the run comes from to the metadata.
        policy: As for `wait_for_test_run`, like all that follow.
        poll_interval: Seconds between two looks; default 10.
        timeout: Seconds to wait for the run once it is started; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        cancel_on_cancellation: Whether a person's cancel cancels the test run; default True.

    Returns:
        The verdict as plain data, the way `Verdict.as_dict` gives it.

    Raises:
        GateClosedError: The gate stays closed.
        EmpiricalError: Whatever else `trigger_test_run` and `wait_for_test_run` raise.
    """
    arguments = locals()
    waiting = waiting_of(arguments)
    with guarded(credentials, cancel=cancel_on_cancellation) as runs:
        run_id = trigger_test_run(**_request(arguments))["id"]
        runs[:] = [run_id]
        if not cancel_on_cancellation:  # the trigger has said otherwise
            label_flow_run(credentials, run_id, cancel=False)
        return _wait(credentials, run_id, waiting)


@task(**_RUNS)
async def arun_tests(
    *,
    credentials: EmpiricalCredentials,
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
    concurrency: Concurrency | Mapping[str, str] | None = None,
    add_context_metadata: bool = True,
    policy: Policy | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,  # noqa: ASYNC109  # the twin's name
    start_timeout: float | None = None,
    cancel_on_cancellation: bool = True,
) -> dict[str, Any]:
    """Do what `run_tests` does, for use with ``await`` in an async flow."""
    arguments = locals()
    waiting = waiting_of(arguments)
    async with aguarded(credentials, cancel=cancel_on_cancellation) as runs:
        run_id = (await atrigger_test_run(**_request(arguments)))["id"]
        runs[:] = [run_id]
        if not cancel_on_cancellation:  # the trigger has said otherwise
            await alabel_flow_run(credentials, run_id, cancel=False)
        return await _await(credentials, run_id, waiting)


def _request(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the trigger task among those of the task that waits as well."""
    return {name: value for name, value in arguments.items() if name not in _OF_THE_WAIT}


def _wait(
    credentials: EmpiricalCredentials, run_id: int, waiting: dict[str, Any]
) -> dict[str, Any]:
    from empirical_provider import wait  # light until used

    on_progress = partial(_tell_progress, credentials.logger)
    with credentials.get_client() as client:
        verdict = wait.wait_for_test_run(client, run_id, on_progress=on_progress, **waiting)
    show_verdict(credentials, verdict)
    return _opened(verdict)


async def _await(
    credentials: EmpiricalCredentials, run_id: int, waiting: dict[str, Any]
) -> dict[str, Any]:
    """Do what `_wait` does."""
    from empirical_provider import wait  # light until used

    on_progress = partial(_tell_progress, credentials.logger)
    async with credentials.get_async_client() as client:
        verdict = await wait.await_for_test_run(client, run_id, on_progress=on_progress, **waiting)
    await ashow_verdict(credentials, verdict)
    return _opened(verdict)


def _tell_progress(log: Logger, run: TestRun) -> None:
    log.info("Empirical test run %s is %s. %s", run.id, run.state, run.url or "")


def _opened(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as data, unless it closes the gate."""
    if verdict.is_closed:
        raise verdict.error()
    return verdict.as_dict()
