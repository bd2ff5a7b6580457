"""The operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.rendered import HiddenValues, as_boolean, as_integer
from empirical_provider.airflow.versions import (
    BaseOperator,
    BaseOperatorLink,
    fail_without_retry,
    mask_secret,
    task_url,
)
from empirical_provider.airflow.xcom import push_test_run
from empirical_provider.exceptions import EmpiricalError

if TYPE_CHECKING:
    from empirical_provider.airflow.hooks import EmpiricalHook
    from empirical_provider.request import TestRunRequest

__all__ = ["EmpiricalTriggerTestRunOperator"]

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


class EmpiricalTriggerTestRunOperator(BaseOperator):
    """Start a test run on Empirical and hand its id on.

    Returns the run's id (an integer). XComs, pushed as soon as they are known: ``test_run_id``,
    ``test_run_url``, and ``test_run`` (a dict of id, state, url, branch, created_at). The extra
    link "Empirical test run" opens the run's page from the moment the run exists.

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

    Raises:
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
        """Start the run; return its id."""
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.trigger import trigger_test_run

        ti = context["ti"]
        try:
            hook = EmpiricalHook(self.empirical_conn_id)
            request = self._request(context, hook)
            with hook.get_conn() as client:
                run = trigger_test_run(
                    client, request, on_started=lambda started: push_test_run(ti, started)
                )
        except EmpiricalError as error:
            if error.may_pass:
                raise
            raise fail_without_retry(str(error)) from error
        push_test_run(ti, run)
        return run.id

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
