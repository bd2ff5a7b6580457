"""The operators. The one that branches is at home in `branching`, and loaded from there on use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from empirical_provider import checks
from empirical_provider.airflow import xcom
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.rendered import HiddenValues, as_boolean, as_integer
from empirical_provider.airflow.versions import (
    BaseOperator,
    BaseOperatorLink,
    mask_secret,
    task_url,
)
from empirical_provider.airflow.waiting import WaitsForTestRun, final
from empirical_provider.policy import GatePolicy

if TYPE_CHECKING:
    from empirical_provider.airflow.branching import EmpiricalBranchOperator
    from empirical_provider.airflow.hooks import EmpiricalHook
    from empirical_provider.models import TestRun
    from empirical_provider.request import TestRunRequest

__all__ = ["EmpiricalBranchOperator", "EmpiricalTriggerTestRunOperator"]


def __getattr__(name: str) -> Any:
    """Load the branch on first use: its base class is not worth its time to DAGs without one."""
    if name != "EmpiricalBranchOperator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical_provider.airflow.branching import EmpiricalBranchOperator

    return EmpiricalBranchOperator


_REQUEST_FIELDS = (
    "environment",
    "build",
    "branch",
    "metadata",
    "environment_variables_overrides",
    "tags",
    "test_case_ids",
    "total_shards",
    "send_notifications",
    "github_actor",
    "concurrency",
)


class EmpiricalTriggerTestRunOperator(WaitsForTestRun, BaseOperator):
    """Start a test run on Empirical and hand its id on; wait for its verdict if asked to.

    Returns the run's id (an integer), waiting or not. XComs, pushed as soon as they are known:
    ``test_run_id``, ``test_run_url``, ``test_run`` (a dict of id, state, url, branch, created_at)
    and, after a wait, ``verdict`` (a dict: `empirical_provider.Verdict`). The extra link
    "Empirical test run" opens the run's page from the moment the run exists. Events of the task's
    asset outlets carry test_run_id and test_run_url in their ``extra``, and after a wait outcome
    and counts.

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
        empirical_conn_id: Id of the connection; default ``empirical_default``.
        wait_for_completion: Whether to wait until the run has finished and to fail the task unless
            the gate opens; default False.
        deferrable: Whether to wait in the triggerer, without holding a worker; default: Airflow's
            ``[operators] default_deferrable``.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        timeout: Seconds from the task's start after which to stop waiting; default 7200. An
            ``execution_timeout`` that is shorter counts instead, less a tenth of it (at most 30 s),
            across a deferral, too.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        policy: What the verdict goes by: a `GatePolicy`, or a mapping of its fields; by default
            everything but passed tests closes the gate.
        cancel_on_kill: Whether to cancel the run when somebody ends the task, but for a deferred
            one before Airflow 3.3, which tells nobody; default True.
        cancel_on_timeout: Whether to cancel the run when we stop waiting for it; default False.

    Raises:
        EmpiricalTestsFailedError: The tests failed; an AirflowFailException, so that no retry is
            burned. Every other way to close the gate has a class of its own, which may be retried:
            see `empirical_provider.airflow.exceptions`.
        AirflowSkipException: The policy skips the task.
        AirflowFailException: An error that no retry mends, or where a retry might start a second
            run; the cause is one of `empirical_provider.exceptions`.
        EmpiricalError: An error that may pass; nothing was started.
    """

    template_fields: Sequence[str] = (*_REQUEST_FIELDS, "empirical_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("build", "metadata", "environment_variables_overrides", "tags", "concurrency"), "json"
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (EmpiricalTestRunLink(),)
    ui_color = "#e6f4ea"

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
        policy: GatePolicy | Mapping[str, Any] | None = None,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
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
        self.poll_interval = checks.number("poll_interval", poll_interval)
        self.timeout = checks.number("timeout", timeout)
        self.start_timeout = start_timeout and checks.number("start_timeout", start_timeout)
        self.policy = GatePolicy.of(policy)
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout

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
        self._tell_outlets(context, test_run_id=run.id, test_run_url=run.url)
        return run.id

    def _start(self, context: Any) -> TestRun:
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.trigger import trigger_test_run

        ti = context["ti"]

        def on_started(run: TestRun) -> None:
            self._run_id = run.id
            xcom.push_test_run(ti, run)
            if self._killed:  # while nobody knew which run to cancel
                self.on_kill()

        with final():
            self._hook = EmpiricalHook(self.empirical_conn_id)
            request = self._request(context, self._hook)
            with self._hook.get_conn() as client:
                run = trigger_test_run(client, request, on_started=on_started)
        xcom.push_test_run(ti, run)
        self._stop_if_killed()
        return run

    def _awaited(self, context: Any) -> int:
        run_id: int = self._run_id or xcom.pull(context["ti"], xcom.TEST_RUN_ID)
        return run_id

    def _interval(self) -> float:
        return self.poll_interval

    def _request(self, context: Any, hook: EmpiricalHook) -> TestRunRequest:
        """Make the core's request of the rendered fields."""
        from empirical_provider.request import TestRunRequest

        fields: dict[str, Any] = {name: getattr(self, name) for name in _REQUEST_FIELDS}
        if fields["environment"] is None:
            fields["environment"] = hook.default_environment
        overrides = fields["environment_variables_overrides"]
        if isinstance(overrides, HiddenValues):
            fields["environment_variables_overrides"] = overrides.values
        fields["total_shards"] = as_integer(fields["total_shards"])
        fields["send_notifications"] = as_boolean(fields["send_notifications"])
        if self.add_context_metadata and isinstance(self.metadata or {}, Mapping):
            fields["metadata"] = {**_origin(context), **(self.metadata or {})}
        return TestRunRequest(**fields)


def _origin(context: Any) -> dict[str, str | int]:
    """Say where a run came from, as far as Airflow tells."""
    ti = context["ti"]
    logical_date = context.get("logical_date")
    origin = {
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": ti.map_index if (ti.map_index or 0) >= 0 else None,
        "logical_date": logical_date.isoformat() if logical_date else None,
        "task_url": task_url(ti),
    }
    return {name: value for name, value in origin.items() if value is not None}
