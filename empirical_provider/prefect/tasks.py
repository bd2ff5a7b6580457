"""The task that starts a test run, and its async twin.

Both only translate: the request is made in `arguments`, the run is started by the core's
`trigger_test_run`, and what may be taken over from an earlier attempt is decided in `caching`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from pydantic import SecretStr

from empirical_provider.exceptions import EmpiricalError
from empirical_provider.prefect.arguments import context_metadata, request_of
from empirical_provider.prefect.caching import SAME_CALL_OF_SAME_FLOW_RUN
from empirical_provider.prefect.cancelling import started
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.showing import ashow_run, show_run

if TYPE_CHECKING:
    from empirical_provider.models import Build, Concurrency, EnvironmentVariable, TestRun

    Logger = logging.Logger | logging.LoggerAdapter[Any]
    Overrides = (
        Mapping[str, str | SecretStr]
        | Iterable[EnvironmentVariable | Mapping[str, str | SecretStr]]
    )

__all__ = ["atrigger_test_run", "may_pass", "trigger_test_run"]


def may_pass(_task: Any, _task_run: TaskRun, state: State[Any]) -> bool:
    """Let Prefect retry only what may pass and cannot start a second test run.

    A time-out of the task is none of our errors, and may come after the run was started.
    """
    return isinstance(state.data, EmpiricalError) and state.data.may_pass


_OPTIONS: dict[str, Any] = {
    "name": "trigger-test-run",
    "description": "Start a test run on Empirical, without waiting for it to finish.",
    "cache_policy": SAME_CALL_OF_SAME_FLOW_RUN,
    "retry_condition_fn": may_pass,
}


@task(**_OPTIONS)
def trigger_test_run(
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
) -> dict[str, Any]:
    """Start a test run and return it as plain data; it does not wait for the run to finish.

    The run's id is logged as soon as it is known. The run is linked by an artifact with the key
    ``empirical-test-run`` and, in a flow, by the flow run's labels ``empirical.test_run_id`` (the
    last one, if the flow starts several) and ``empirical.test_run.456``. The event
    ``empirical.test-run.triggered`` is there for automations.

    **Retries of the flow.** The result is persisted, and a later attempt of the same flow run
    takes it over instead of starting a second test run. Within one attempt every call starts a
    run of its own, also one that repeats an earlier one to the letter: a second release must not
    get the first one's verdict. Nothing is taken over by another flow run, where the request or
    the project differ, or in a task runner that uses other processes. A call that failed is made
    again, so a retry of the flow after `TriggerOutcomeUnknownError` may start a second run. Use
    ``.with_options(persist_result=False)`` to take nothing over at all.

    **Retries of the task.** With ``.with_options(retries=...)`` Prefect retries only errors that
    may pass and after which it is certain that nothing was started. A ``retry_condition_fn`` of
    yours takes the place of this rule.

    Args:
        credentials: The block with the API key.
        environment: Slug of the environment to test.
        build: The application build under test: a `Build` or a mapping of its fields.
        branch: Branch of the test repository; not together with ``build``.
        metadata: Shown with the run; values are strings or numbers.
        environment_variables_overrides: Environment variables for the tests: a mapping of name to
            value, or a list of ``{"name": ..., "value": ...}``. A value may be a ``SecretStr``,
            such as the ``value`` of Prefect's Secret block.
        tags: Only tests that match these tags run.
        test_case_ids: Only these tests run.
        total_shards: Number of shards, at least 1.
        send_notifications: Whether Empirical sends its notifications.
        github_actor: GitHub login that is shown as the person who started the run.
        concurrency: A `Concurrency` or a mapping of its fields.
        add_context_metadata: Whether to add ``flow_name``, ``flow_run_name``, ``flow_run_id`` and
            ``flow_run_url``, as far as known, to the metadata; keys given there win.

    Returns:
        The run's ``id``, ``state``, ``url``, ``branch`` and ``created_at``; the last three may be
        None.

    Raises:
        InvalidRequestError: An argument is not valid, or the service refused the request.
        TriggerRejectedError: The service said that it did not start the run.
        TriggerOutcomeUnknownError: The run may have been started, or not.
        EmpiricalError: Any other error of the tree: nothing was started.
    """
    arguments = locals()
    from empirical_provider import trigger  # light until used

    log = credentials.logger
    request = request_of(arguments, **(context_metadata() if add_context_metadata else {}))
    with credentials.get_client() as client:
        run = trigger.trigger_test_run(client, request, on_started=partial(_tell_id, log))
    _tell_url(log, run)
    show_run(credentials, run)
    return run.as_dict()


@task(**_OPTIONS)
async def atrigger_test_run(
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
) -> dict[str, Any]:
    """Do what `trigger_test_run` does, for use with ``await`` in an async flow."""
    arguments = locals()
    from empirical_provider import trigger  # light until used

    log = credentials.logger
    request = request_of(arguments, **(context_metadata() if add_context_metadata else {}))
    async with credentials.get_async_client() as client:
        run = await trigger.atrigger_test_run(client, request, on_started=partial(_tell_id, log))
    _tell_url(log, run)
    await ashow_run(credentials, run)
    return run.as_dict()


def _tell_id(log: Logger, run: TestRun) -> None:
    started(run)
    log.info("Empirical test run %s is %s in %r.", run.id, run.state, run.environment)


def _tell_url(log: Logger, run: TestRun) -> None:
    log.info("Empirical test run %s: %s", run.id, run.url or "(its page is not known)")
