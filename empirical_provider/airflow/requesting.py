"""The core's request, made of a task's rendered fields and of where Airflow says it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow.rendered import (
    REQUEST_FIELDS,
    HiddenValues,
    as_field,
    refuse_leftovers,
)
from empirical_provider.airflow.versions import task_url
from empirical_provider.hiding import hidden_overrides
from empirical_provider.request import TestRunRequest

if TYPE_CHECKING:
    from empirical_provider.airflow.hooks import EmpiricalHook
    from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

__all__ = ["request_of"]


def request_of(
    task: EmpiricalTriggerTestRunOperator, context: Any, hook: EmpiricalHook
) -> TestRunRequest:
    """Make the request of a task whose fields are rendered.

    Raises:
        InvalidRequestError: A field is not valid; the message names it.
    """
    fields: dict[str, Any] = {name: getattr(task, name) for name in REQUEST_FIELDS}
    if fields["environment"] is None:
        fields["environment"] = hook.default_environment
    fields["environment_variables_overrides"] = _hidden(task.environment_variables_overrides)
    fields = {name: as_field(name, value) for name, value in fields.items()}
    fields["environment_variables_overrides"] = _hidden(fields["environment_variables_overrides"])
    refuse_leftovers(fields)
    metadata = fields["metadata"] or {}
    if task.add_context_metadata and isinstance(metadata, Mapping):
        fields["metadata"] = {**_origin(context), **metadata}
    return TestRunRequest(**fields)


def _hidden(overrides: Any) -> Any:
    return overrides.values if isinstance(overrides, HiddenValues) else hidden_overrides(overrides)


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
