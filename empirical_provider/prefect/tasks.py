"""The task that starts a test run, and its async twin.

They only translate: the run is started in `starting`, and what is taken over from an earlier
attempt is found in `durable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from pydantic import SecretStr

from empirical_provider.exceptions import EmpiricalError
from empirical_provider.hiding import hidden_overrides
from empirical_provider.prefect.arguments import acredentials_of, credentials_of
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.job import AfterRed
from empirical_provider.prefect.starting import astart, start

if TYPE_CHECKING:
    from empirical_provider.models import Build, Concurrency, EnvironmentVariable
    from empirical_provider.policy import GatePolicy

    Overrides = (
        Mapping[str, str | SecretStr]
        | Iterable[EnvironmentVariable | Mapping[str, str | SecretStr]]
    )
    Policy = GatePolicy | Mapping[str, Any]

__all__ = ["atrigger_test_run", "is_retryable", "trigger_test_run"]


def is_retryable(task: Any, task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Say whether a retry of a task helps: the rule of all tasks here, for tasks of yours as well.

    A retry helps where the error says so (`EmpiricalError.may_pass`) and cannot start a second test
    run. Failed tests are not retried, and neither is a timeout of the task, which is a decision to
    stop. Errors of other packages are not retried.

    Example:
        Retry a task that asks the service by itself:

        ```python
        from prefect import task

        from empirical_provider.prefect import EmpiricalCredentials, is_retryable


        @task(retries=2, retry_condition_fn=is_retryable)
        def environments() -> list[str]:
            with EmpiricalCredentials.load("prod").get_client() as client:
                return [each.slug for each in client.list_environments()]


        print(environments())
        ```

    Args:
        task: The task, as Prefect gives it.
        task_run: Its run.
        state: The state in which an attempt has ended.
    """
    return isinstance(state.data, EmpiricalError) and state.data.may_pass


_OPTIONS: dict[str, Any] = {
    "name": "trigger-test-run",
    "description": "Start a test run on Empirical, without waiting for it to finish.",
    # What an earlier attempt has started is known to `durable`, and looked at again: a cached
    # result would hand on a run that has been cancelled since.
    "cache_policy": NO_CACHE,
    "retry_condition_fn": is_retryable,
    # Flows go on with it where they are visualized, and read what is in it.
    "viz_return_value": {
        "id": 456,
        "state": "queued",
        "url": None,
        "branch": None,
        "created_at": None,
    },
}


@task(**_OPTIONS)
def trigger_test_run(
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
) -> dict[str, Any]:
    """Start a test run and return it as plain data; it does not wait for the run to finish.

    The run's id and page are logged, with what the task does to find a run that was started before.
    The run is linked by an artifact with the key
    ``empirical-test-run`` and, in a flow, by the flow run's labels ``empirical.test_run_id`` (the
    last one, if the flow starts several) and ``empirical.test_run.456``. The event
    ``empirical.test-run.triggered`` is there for automations.

    **Retries.** Whatever crashes, a call in a flow starts one run. A retry of the task or of the
    flow takes over the run of the attempt before, in whatever state it is; so does a flow run whose
    process has crashed, once it is retried. A run that has ended in error or was cancelled is
    followed by a new one. Where an answer was lost the run is looked up by a key that travels with
    the request: if the service shows it, that makes it good, and if nobody can tell,
    `TriggerOutcomeUnknownError` says so, and nothing is sent. With ``.with_options(retries=...)``
    Prefect retries only errors that may pass. A ``retry_condition_fn`` of yours takes the place of
    this rule.

    **Fresh runs.** A flow run that was completed, failed or cancelled, and that a person or an
    automation retries then, starts a run of its own, and so does another flow run. Within one
    attempt each call does, also one that repeats an earlier one to the letter: a second release
    must not get the first one's verdict. Another request in the next attempt, such as one with the
    time in its metadata, and another API key make it another call: give a ``key`` then. Tasks of
    yours around the call are told apart by their names, and those of their parameters that are
    plain data.

    **Where this ends.** Outside of a flow, and without a ``key``, nothing is taken over. In a task
    runner that uses other processes, retries of the task take a run over, and those of the flow do
    not. What is known of a call is kept by Prefect's server, as inputs of the flow run; while it
    does not answer, no run is started.

    Args:
        credentials: The block with the API key, or its name if it is saved.
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
        concurrency: A `Concurrency` or a mapping of its fields; False: out of the shared queue.
        add_context_metadata: Whether to add ``flow_name``, ``flow_run_name``, ``flow_run_id`` and
            ``flow_run_url``, as far as known, to the metadata; keys given there win. Without it,
            only ``trigger_key`` is added, in a flow or with a ``key``: the run is found again by
            it.
        key: What the run is for, such as a release id. Tasks with the same key share one run, also
            those of other flows: who comes later takes it over, for a day. The same key with
            another request is refused. A person who retries a flow run gets a fresh run all the
            same. Default: the call has its own.
        key_in_environment: Whether the key travels in the environment of the tests, too, as
            ``EMPIRICAL_TRIGGER_KEY``: lists of runs are known to show that. Default: wherever there
            is a key. False: a run that has to be found may not be.
        on_retry_after_red: What a retry makes of a run whose tests failed: ``fail`` (the default)
            takes it over, ``rerun_failed`` re-runs the tests that failed, ``rerun_all`` all of
            them; the last two also when a person retries the flow run.
        policy: What tells red from green then, as for `wait_for_test_run`.

    Returns:
        The run's ``id``, ``state``, ``url``, ``branch`` and ``created_at``; the last three may be
        None.

    Raises:
        InvalidRequestError: An argument is not valid, the service refused the request, or the key
            was used for another one.
        TriggerRejectedError: The service said that it did not start the run.
        TriggerOutcomeUnknownError: The run may have been started, or not.
        EmpiricalError: Any other error of the tree: nothing was started.
    """
    credentials = credentials_of(credentials)
    environment_variables_overrides = hidden_overrides(environment_variables_overrides)
    return start(locals(), cancel=key is None).as_dict()


@task(**_OPTIONS)
async def atrigger_test_run(
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
) -> dict[str, Any]:
    """Do what `trigger_test_run` does, for use with ``await`` in an async flow."""
    credentials = await acredentials_of(credentials)
    environment_variables_overrides = hidden_overrides(environment_variables_overrides)
    return (await astart(locals(), cancel=key is None)).as_dict()
