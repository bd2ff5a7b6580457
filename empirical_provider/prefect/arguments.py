"""From the arguments of a task to the request and to how to wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.utilities.collections import visit_collection
from prefect.utilities.urls import url_for

from empirical_provider import checks

if TYPE_CHECKING:
    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.request import TestRunRequest
    from empirical_provider.wait_options import WaitOptions

__all__ = ["context_metadata", "masking", "request_of", "run_id_of", "waiting_of"]


def run_id_of(value: object) -> int:
    """Read the id of a run: a positive integer, or its digits as a flow's parameters have them.

    Raises:
        InvalidRequestError: It is something else.
    """
    return checks.run_id("test_run_id", value)


def request_of(arguments: Mapping[str, Any]) -> TestRunRequest:
    """Make the request that a task was asked for.

    Raises:
        InvalidRequestError: An argument is not valid; the message names it.
    """
    from empirical_provider.request import TestRunRequest

    given = {each.name: arguments[each.name] for each in fields(TestRunRequest)}
    return TestRunRequest(**visit_collection(given, _revealed, return_data=True))


def masking(arguments: Mapping[str, Any]) -> EmpiricalCredentials:
    """Return the credentials of a task, whose clients mask the values of its overrides."""
    from empirical_provider.redaction import unsaid
    from empirical_provider.request import TestRunRequest

    given = {each.name: arguments.get(each.name) for each in fields(TestRunRequest)}
    request = request_of(given)
    credentials: EmpiricalCredentials = arguments["credentials"]
    return credentials._masking(unsaid(request.secrets, request.body()))  # noqa: SLF001  # our own


def waiting_of(arguments: Mapping[str, Any]) -> WaitOptions:
    """Take what says how to wait and check it, before anything is started.

    Raises:
        InvalidRequestError: An argument is not valid; the message names it.
    """
    from empirical_provider.wait_options import WaitOptions, commit_to_expect

    given = {each.name: arguments[each.name] for each in fields(WaitOptions)}
    given["expect_commit"] = commit_to_expect(given["expect_commit"], arguments.get("build"))
    return WaitOptions(**given)


def context_metadata() -> dict[str, str]:
    """Return where the request comes from, as far as that is known without asking the server."""
    task_run, flow = TaskRunContext.get(), FlowRunContext.get()
    run_id = task_run.task_run.flow_run_id if task_run else None
    found = {
        "flow_name": flow.flow.name if flow and flow.flow else None,
        "flow_run_name": flow.flow_run.name if flow and flow.flow_run else None,
        "flow_run_id": str(run_id) if run_id else None,
        "flow_run_url": url_for("flow-run", run_id) if run_id else None,
    }
    return {name: value for name, value in found.items() if value}


def _revealed(value: Any) -> Any:
    """Unwrap pydantic's ``SecretStr`` and ``Secret``, such as the ``value`` of a Secret block."""
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value
