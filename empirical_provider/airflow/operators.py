"""The operators. Two have modules of their own, `branching` and `preflight`: loaded on use."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from empirical_provider import checks
from empirical_provider.airflow import xcom
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.literals import check_literal_commit, check_literals
from empirical_provider.airflow.rendered import (
    REQUEST_FIELDS,
    HiddenValues,
    as_field,
    given_fields,
    plain,
)
from empirical_provider.airflow.versions import (
    BaseOperator,
    BaseOperatorLink,
    final,
    mask_secret,
)
from empirical_provider.airflow.waiting import WaitsForTestRun
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import AFTER_RED, GatePolicy

if TYPE_CHECKING:
    from datetime import timedelta

    from empirical_provider.airflow.branching import EmpiricalBranchOperator
    from empirical_provider.airflow.preflight import EmpiricalPreflightOperator
    from empirical_provider.airflow.versions import XComArg
    from empirical_provider.destinations import Destination
    from empirical_provider.models import TestRun
    from empirical_provider.request import Build, Concurrency, EnvironmentVariable

__all__ = [
    "EmpiricalBranchOperator",
    "EmpiricalPreflightOperator",
    "EmpiricalTriggerTestRunOperator",
]

log = logging.getLogger(__name__)

_OF_THE_WAIT: dict[str, tuple[Any, ...]] = {
    "deferrable": (None, False),
    "poll_interval": (10.0,),
    "timeout": (7200.0,),
    "start_timeout": (None,),
    "expect_commit": (True, False, None),
    "policy": (GatePolicy(),),
    "cancel_on_timeout": (False,),
    "report_path": (None,),
}
"""The arguments that are about the wait only, and the values by which nobody asks for one."""

_HOME_OF = {"EmpiricalBranchOperator": "branching", "EmpiricalPreflightOperator": "preflight"}


def __getattr__(name: str) -> Any:
    """Load an operator on first use: it is not worth its time to DAGs without one."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"empirical_provider.airflow.{home}"), name)


class EmpiricalTriggerTestRunOperator(WaitsForTestRun, BaseOperator):
    """Start a test run on Empirical and hand its id on; wait for its verdict if asked to.

    Returns the run's id (an integer), waiting or not. XComs, pushed as soon as they are known:
    ``test_run_id``, ``test_run_url``, ``test_run`` (a dict of id, state, url, branch, created_at)
    and, after a wait, ``verdict`` (a dict: `empirical_provider.Verdict`). The extra link
    "Empirical test run" opens the run's page from the moment the run exists. Events of the task's
    asset outlets carry test_run_id and test_run_url in their ``extra``, and after a wait outcome
    and counts.

    There is one run for a task, whatever crashes: a retry goes on with the run of the try before,
    and takes its verdict over at once if it has finished, but starts another one if it has ended in
    error or was cancelled. A task that a person clears starts a fresh run. The request must render
    to the same in each try; metadata, github_actor and send_notifications may differ. Before
    Airflow 3.3, which keeps the run's id for a retry, the retry looks for the run by its key, for
    up to a minute.

    Every field of the request is templated, nested values too, and has the meaning that
    `empirical_provider.TestRunRequest` describes. Values of overrides are kept out of logs and of
    the rendered-template view.

    Args:
        environment: Slug of the environment; default: the connection's ``environment``.
        build: The application build under test: url, branch, commit, commit_url, version.
        branch: Branch of the test repository; not together with ``build``.
        metadata: Flat mapping of strings and numbers.
        environment_variables_overrides: Variables to override for this run: a mapping of name to
            value, or a list of name and value objects.
        tags: Only tests that match these tags run.
        test_case_ids: Only these tests run.
        total_shards: Number of shards, at least 1.
        send_notifications: Whether Empirical sends its notifications.
        github_actor: GitHub login shown as the person who started the run.
        concurrency: How the run shares its turn: group, on_conflict (``cancel`` or ``wait``). False
            keeps it out of the project's shared queue.
        add_context_metadata: Whether to add to the metadata where the run came from: dag_id,
            run_id, task_id, map_index, logical_date, task_url. The user's own keys win.
            Default True.
        empirical_conn_id: Id of the connection; default ``empirical_default``; templated.
        wait_for_completion: Whether to wait until the run has finished and to fail the task unless
            the gate opens; default False.
        deferrable: Whether to wait in the triggerer, without holding a worker; default: Airflow's
            ``[operators] default_deferrable``.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10. This and the
            other times may be a `timedelta`, too.
        timeout: Seconds from the task's start after which to stop waiting; default 7200. An
            ``execution_timeout`` that is shorter counts instead, less a tenth of it (at most 30 s),
            across a deferral, too.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        expect_commit: The commit that must have been tested, where the service tells which was;
            templated; default True: that of the build, if it names one. False: any.
        policy: What the verdict goes by: a `GatePolicy`, or a mapping of its fields; by default
            everything but passed tests closes the gate.
        cancel_on_kill: Whether to cancel the run when a user ends the task, but for a deferred one
            before Airflow 3.3, which tells nobody; default: yes, unless the task has a ``key``, as
            others may wait for the run, too. A worker that is shut down is no user.
        cancel_on_timeout: Whether to cancel the run when we stop waiting for it; default False.
        durable: Whether a retry goes on with the run of the try before; default True. If not,
            every try starts a run, and a lost answer fails the task for good.
        key: What the run is for, such as a release id; templated. Tasks with the same key share
            one run: who comes later goes on with it, for a day. Default: the task has its own.
        key_in_environment: Whether the key travels in the environment of the tests, too, as
            ``EMPIRICAL_TRIGGER_KEY``: run lists are known to show that. Default: wherever there is
            a key, so with ``durable``. False: a run that has to be found may not be.
        on_retry_after_red: What a retry makes of failed tests: ``fail`` (the default) burns none,
            ``rerun_failed`` re-runs the tests that failed, ``rerun_all`` all of them. So does a
            clear then, from Airflow 3.3 on and without a ``key``; else it tests afresh.
        report_path: Where to write the report on the verdict, before the task succeeds, fails or is
            skipped; templated; default: nowhere. JSON if it ends in ``.json``, else JUnit XML. A
            local path, an ``ObjectStoragePath`` or its URL (``s3://my_aws@bucket/key``, with the id
            of a connection), or a URL of fsspec. Each task instance needs a path of its own: put
            ``{{ run_id }}`` in it, and ``{{ ti.map_index }}`` if it is mapped.

    Raises:
        InvalidRequestError: An argument is not valid (when the DAG is parsed).
        EmpiricalTestsFailedError: The tests failed; an AirflowFailException, so that no retry is
            burned (but see ``on_retry_after_red``). Every other way to close the gate has a class
            of its own in `empirical_provider.airflow.exceptions`, which tells about retries.
        AirflowSkipException: The policy skips the task.
        AirflowFailException: An error that no retry mends, or where a retry might start a second
            run; the cause is one of `empirical_provider.exceptions`.
        TriggerOutcomeUnknownError: Nobody can tell whether a run was started; a retry looks again.
        ReportNotWrittenError: The gate is open, and the report is not there; a retry goes on with
            the run, and writes it. A gate that is closed or skipped stays so: the log tells then.
        EmpiricalError: An error that may pass; nothing was started.
    """

    template_fields: Sequence[str] = (
        *REQUEST_FIELDS,
        "empirical_conn_id",
        "key",
        "expect_commit",
        "report_path",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("build", "metadata", "environment_variables_overrides", "tags", "concurrency"), "json"
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (EmpiricalTestRunLink(),)
    ui_color = "#e6f4ea"

    visibility_grace: ClassVar[float] = 60.0
    """Seconds after a request in which its run may be missing from lists."""

    def __init__(
        self,
        *,
        environment: str | XComArg | None = None,
        build: Build | Mapping[str, str | XComArg | None] | str | XComArg | None = None,
        branch: str | XComArg | None = None,
        metadata: Mapping[str, str | int | float | XComArg] | str | XComArg | None = None,
        environment_variables_overrides: Mapping[str, str | XComArg]
        | Iterable[EnvironmentVariable | Mapping[str, str | XComArg]]
        | str
        | XComArg
        | None = None,
        tags: Iterable[str | XComArg] | str | XComArg | None = None,
        test_case_ids: Iterable[str | XComArg] | str | XComArg | None = None,
        total_shards: int | str | XComArg | None = None,
        send_notifications: bool | str | XComArg | None = None,
        github_actor: str | XComArg | None = None,
        concurrency: Concurrency
        | Mapping[str, str | XComArg]
        | Literal[False]
        | str
        | XComArg
        | None = None,
        add_context_metadata: bool = True,
        empirical_conn_id: str = "empirical_default",
        wait_for_completion: bool = False,
        deferrable: bool | None = None,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 7200.0,
        start_timeout: timedelta | float | None = None,
        expect_commit: str | XComArg | bool = True,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        cancel_on_kill: bool | None = None,
        cancel_on_timeout: bool = False,
        durable: bool = True,
        key: str | XComArg | None = None,
        key_in_environment: bool | None = None,
        on_retry_after_red: str = "fail",
        report_path: Destination | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.build = plain(build)
        self.branch = branch
        self.metadata = metadata
        self.environment_variables_overrides = plain(environment_variables_overrides)
        self.tags = tags
        self.test_case_ids = test_case_ids
        self.total_shards = total_shards
        self.send_notifications = send_notifications
        self.github_actor = github_actor
        self.concurrency = plain(concurrency)
        self.add_context_metadata = checks.flag("add_context_metadata", add_context_metadata)
        self.empirical_conn_id = empirical_conn_id
        self.wait_for_completion = checks.flag("wait_for_completion", wait_for_completion)
        self.deferrable = checks.optional(checks.flag, "deferrable", deferrable)
        self.poll_interval = checks.seconds("poll_interval", poll_interval)
        self.timeout = checks.seconds("timeout", timeout)
        self.start_timeout = checks.optional(checks.seconds, "start_timeout", start_timeout)
        self.expect_commit = expect_commit
        check_literal_commit(expect_commit)
        self.policy = GatePolicy.of(policy)
        cancels = checks.optional(checks.flag, "cancel_on_kill", cancel_on_kill)
        self.cancel_on_kill = key is None if cancels is None else cancels
        self.cancel_on_timeout = checks.flag("cancel_on_timeout", cancel_on_timeout)
        self.durable = checks.flag("durable", durable)
        self.key = key
        self.key_in_environment = checks.optional(
            checks.flag, "key_in_environment", key_in_environment
        )
        self.on_retry_after_red = checks.one_of("on_retry_after_red", on_retry_after_red, AFTER_RED)
        self.report_path = report_path
        self._given = given_fields(self)
        check_literals(self, REQUEST_FIELDS)
        if not durable:
            self._refuse_what_needs_durable()
        self._without_effect: tuple[str, ...] = ()
        if not wait_for_completion:
            self._refuse_what_needs_a_wait(kwargs.get("default_args") or {})

    def _refuse_what_needs_a_wait(self, default_args: Mapping[str, Any]) -> None:
        """Refuse what is about the wait where there is none: who writes it means a gate.

        Default arguments are for many tasks: of those, the log says that they have no effect.
        """
        given = [name for name, no in _OF_THE_WAIT.items() if getattr(self, name) not in no]
        meant = [name for name in given if name not in default_args]
        if meant:
            raise InvalidRequestError(
                f"{' and '.join(meant)} without wait_for_completion=True: the task would not wait, "
                "and whatever the tests say, it would succeed. Add wait_for_completion=True for a "
                f"gate, or leave {'it' if len(meant) == 1 else 'them'} out."
            )
        self._without_effect = tuple(given)

    def _refuse_what_needs_durable(self) -> None:
        given = {
            "key": self.key is not None,
            "key_in_environment": self.key_in_environment is True,
            "on_retry_after_red": self.on_retry_after_red != "fail",
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise InvalidRequestError(f"{name} has no effect with durable=False: leave one out.")

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Hide the overrides as soon as they are rendered, before Airflow stores the fields.

        Airflow calls this on the operator for mapped and other tasks alike.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        overrides = parent.environment_variables_overrides if parent is self else None
        if overrides and not isinstance(overrides, HiddenValues):
            hidden = HiddenValues(overrides)
            for secret in hidden.secrets():
                mask_secret(secret)
            self.environment_variables_overrides = hidden

    def execute(self, context: Any) -> int:
        """Start the run, and wait for its verdict if asked to; return its id."""
        run = self._start(context)
        if self.wait_for_completion:
            return self._gate(context).run_id
        if self._without_effect:
            log.warning(
                "%s (of default_args): no effect without wait_for_completion=True. This task does "
                "not wait for test run %s, and succeeds whatever the tests say.",
                " and ".join(self._without_effect),
                run.id,
            )
        from empirical_provider.airflow.telling import tell_outlets

        tell_outlets(self.outlets, context, test_run_id=run.id, test_run_url=run.url)
        return run.id

    def _start(self, context: Any) -> TestRun:
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.airflow.requesting import request_of
        from empirical_provider.trigger import trigger_test_run

        ti = self._ti = context["ti"]

        def on_started(run: TestRun) -> None:
            self._run_id = run.id
            xcom.push_test_run(ti, run)
            if self._killed:  # while nobody knew which run to cancel
                self.on_kill()

        with final():
            self._check_fields()
            self._hook = EmpiricalHook(self.empirical_conn_id)
            request = request_of(self, context, self._hook)
            once = self._once(context) if self.durable else {}
            with self._hook.get_conn() as client:
                run = trigger_test_run(client, request, on_started=on_started, **once)
        xcom.push_test_run(ti, run)
        self._stop_if_killed()
        return run

    def _once(self, context: Any) -> dict[str, Any]:
        """Return what makes the core start one run, whatever crashes."""
        from empirical_provider.airflow.durable import Memory, once_for

        memory = Memory(context)
        once = once_for(
            context,
            memory,
            key=as_field("key", self.key),
            retries=self.retries or 0,
            key_in_environment=self.key_in_environment is not False,
            grace=self.visibility_grace,
            after_red=self.on_retry_after_red,
            policy=self.policy,
        )
        return {"key": once, "save": memory.save}

    def _secrets(self) -> tuple[str, ...]:
        from empirical_provider.redaction import unsaid

        overrides: Any = self.environment_variables_overrides
        if not overrides:
            return ()
        if not isinstance(overrides, HiddenValues):
            overrides = HiddenValues(overrides)
        return unsaid(overrides.secrets(), {name: getattr(self, name) for name in REQUEST_FIELDS})

    def _awaited(self, context: Any) -> int:
        run_id: int = self._run_id or xcom.pull(context["ti"], xcom.TEST_RUN_ID)
        return run_id

    def _interval(self) -> float:
        return self.poll_interval
