"""The operators. Two have modules of their own, `branching` and `preflight`: loaded on use."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from empirical_provider import checks
from empirical_provider.airflow import xcom
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.rendered import REQUEST_FIELDS, HiddenValues, given_fields
from empirical_provider.airflow.versions import (
    BaseOperator,
    BaseOperatorLink,
    final,
    mask_secret,
)
from empirical_provider.airflow.waiting import WaitsForTestRun
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import AFTER_RED, GatePolicy
from empirical_provider.wait_options import WaitOptions

if TYPE_CHECKING:
    from empirical_provider.airflow.branching import EmpiricalBranchOperator
    from empirical_provider.airflow.preflight import EmpiricalPreflightOperator
    from empirical_provider.destinations import Destination
    from empirical_provider.models import TestRun

__all__ = [
    "EmpiricalBranchOperator",
    "EmpiricalPreflightOperator",
    "EmpiricalTriggerTestRunOperator",
]

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
        concurrency: How the run shares its turn: group, on_conflict (``cancel`` or ``wait``).
        add_context_metadata: Whether to add to the metadata where the run came from: dag_id,
            run_id, task_id, map_index, logical_date, task_url. The user's own keys win.
            Default True.
        empirical_conn_id: Id of the connection; default ``empirical_default``; templated.
        wait_for_completion: Whether to wait until the run has finished and to fail the task unless
            the gate opens; default False.
        deferrable: Whether to wait in the triggerer, without holding a worker; default: Airflow's
            ``[operators] default_deferrable``.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
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
        environment: str | None = None,
        build: Mapping[str, str] | None = None,
        branch: str | None = None,
        metadata: Mapping[str, str | int | float] | None = None,
        environment_variables_overrides: Mapping[str, str]
        | Iterable[Mapping[str, str]]
        | None = None,
        tags: Iterable[str] | None = None,
        test_case_ids: Iterable[str] | None = None,
        total_shards: int | str | None = None,
        send_notifications: bool | str | None = None,
        github_actor: str | None = None,
        concurrency: Mapping[str, str] | None = None,
        add_context_metadata: bool = True,
        empirical_conn_id: str = "empirical_default",
        wait_for_completion: bool = False,
        deferrable: bool | None = None,
        poll_interval: float = 10.0,
        timeout: float = 7200.0,
        start_timeout: float | None = None,
        expect_commit: str | bool = True,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        cancel_on_kill: bool | None = None,
        cancel_on_timeout: bool = False,
        durable: bool = True,
        key: str | None = None,
        key_in_environment: bool | None = None,
        on_retry_after_red: str = "fail",
        report_path: Destination | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.build = build
        self.branch = branch
        self.metadata = metadata
        self.environment_variables_overrides = environment_variables_overrides
        self.tags = tags
        self.test_case_ids = test_case_ids
        self.total_shards = total_shards
        self.send_notifications = send_notifications
        self.github_actor = github_actor
        self.concurrency = concurrency
        self.add_context_metadata = add_context_metadata
        self.empirical_conn_id = empirical_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        options = WaitOptions(
            policy=policy,
            poll_interval=poll_interval,
            timeout=timeout,
            start_timeout=start_timeout,
        )
        self.poll_interval = options.poll_interval
        self.timeout = options.timeout
        self.start_timeout = options.start_timeout
        self.expect_commit = expect_commit
        self.policy = GatePolicy.of(options.policy)
        self.cancel_on_kill = key is None if cancel_on_kill is None else cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.durable = checks.flag("durable", durable)
        self.key = key
        if key_in_environment is not None:
            checks.flag("key_in_environment", key_in_environment)
        self.key_in_environment = key_in_environment
        self.on_retry_after_red = checks.one_of("on_retry_after_red", on_retry_after_red, AFTER_RED)
        self.report_path = report_path
        self._given = given_fields(self)
        if not durable:
            self._refuse_what_needs_durable()
        if report_path is not None and not wait_for_completion:
            raise InvalidRequestError("report_path has no effect without wait_for_completion=True.")

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
            self.environment_variables_overrides = hidden  # type: ignore[assignment]

    def execute(self, context: Any) -> int:
        """Start the run, and wait for its verdict if asked to; return its id."""
        run = self._start(context)
        if self.wait_for_completion:
            return self._gate(context).run_id
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
            key=self.key,
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
