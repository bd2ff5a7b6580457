"""From the arguments of a task to the request and to how to wait."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.utilities.collections import visit_collection
from prefect.utilities.urls import url_for

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.prefect.credentials import EmpiricalCredentials, load_saved

if TYPE_CHECKING:
    from empirical_provider.request import TestRunRequest
    from empirical_provider.wait_options import WaitOptions

__all__ = [
    "acredentials_of",
    "attached_to",
    "context_metadata",
    "credentials_of",
    "masking",
    "request_of",
    "run_id_of",
    "waiting_of",
]


def credentials_of(value: object) -> EmpiricalCredentials:
    """Return the block with the API key, which is loaded where a task got its name.

    Raises:
        InvalidRequestError: It is neither a block nor the name of one that is saved.
    """
    if isinstance(value, EmpiricalCredentials):
        return value
    name = _name_of_block(value)
    try:
        return load_saved(EmpiricalCredentials, name)
    except ValueError:
        raise _not_saved() from None


async def acredentials_of(value: object) -> EmpiricalCredentials:
    """Do what `credentials_of` does, in an async task."""
    if isinstance(value, EmpiricalCredentials):
        return value
    name = _name_of_block(value)
    try:
        return await EmpiricalCredentials.aload(name)
    except ValueError:
        raise _not_saved() from None


# An API key that is given in the place of the block must not show: no text is quoted.


def _name_of_block(value: object) -> str:
    if isinstance(value, str):
        if re.fullmatch("[a-z0-9-]+", value):
            return value
        raise InvalidRequestError(
            "credentials must be an EmpiricalCredentials block or the name of a saved one: "
            "lowercase letters, digits and dashes (got another str)."
        )
    got = "None" if value is None else type(value).__name__
    if inspect.iscoroutine(value):
        value.close()  # the message says that it was not awaited
        got = "a coroutine that was not awaited"
    raise InvalidRequestError(
        f"credentials must be an EmpiricalCredentials block or the name of a saved one (got {got})."
        f' In sync code: EmpiricalCredentials.load("NAME"); in async code: '
        f'await EmpiricalCredentials.aload("NAME").'
    )


def _not_saved() -> InvalidRequestError:
    return InvalidRequestError(
        "credentials must be an EmpiricalCredentials block or the name of a saved one (got the "
        "name of none). `prefect block ls` lists the saved blocks."
    )


def run_id_of(value: object) -> int:
    """Read the id of a run: a positive integer, its digits, or the run as a trigger returns it.

    Raises:
        InvalidRequestError: It is something else.
    """
    if isinstance(value, Mapping):
        return checks.run_id("test_run_id['id']", value.get("id"))
    return checks.run_id("test_run_id", value)


def attached_to(value: object) -> str:
    """Say which run a wait attaches to; one from the cache was created long before."""
    created = value.get("created_at") if isinstance(value, Mapping) else None
    since = "" if created is None else f", created at {checks.named(created)}"
    return f"Attaching to Empirical test run {run_id_of(value)}{since}."


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
