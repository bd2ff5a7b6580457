"""Which call of a flow this is, so that a later attempt of the flow knows it again.

Prefect gives the tasks of each attempt new ids and names. What stays is the request, and which of
the same calls in its attempt it is: a flow that deploys, tests, deploys again and tests again with
the same arguments makes two calls, and must not get the first one's verdict twice.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from prefect.context import FlowRunContext, TaskRunContext

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.request import TestRunRequest

__all__ = ["digest_of", "flow_run_here", "place_of"]

_lock = threading.Lock()
_seen: dict[Hashable, list[UUID]] = {}
"""Which task runs have made the same call in the same attempt of a flow run, in their order."""


def flow_run_here() -> FlowRun | None:
    """Return the flow run that this is called in."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def digest_of(credentials: EmpiricalCredentials, asked: TestRunRequest | str) -> str:
    """Return a hash of what is asked of a project, as the user gave it.

    The API key is in it: two keys are two projects, and nobody can guess a secret value by it.
    """
    parts = (
        credentials.api_key.get_secret_value(),
        credentials.base_url,
        credentials.project_id,
        asked if isinstance(asked, str) else asked.body(),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def place_of(digest: str, flow_run: FlowRun) -> list[Any]:
    """Return which of the calls with this digest this is, the same in each attempt of the flow.

    In another process the calls of a flow cannot be counted, only those of a task. There the task
    run stands for itself: it stays the same when it is retried, but not when the flow is.
    """
    context = FlowRunContext.get()
    place: list[Any] = []
    around = _task_runs_around(flow_run)
    scope: Hashable = (flow_run.id, flow_run.run_count)
    if context is not None and context.detached and around:
        scope = around.pop(0)
        place.append(str(scope[0]))
    with _lock:
        for task_run_id, attempt in around:
            same = _seen.setdefault((digest, scope), [])
            if task_run_id not in same:  # a retried task run asks again
                same.append(task_run_id)
            place.append(same.index(task_run_id))
            scope = (task_run_id, attempt)
    return place


def _task_runs_around(flow_run: FlowRun) -> list[tuple[UUID, int]]:
    """Return the task runs of this flow run that this is called in, outermost first, ours last.

    A task of the user's that calls ours and is retried makes a new task run of ours each time. A
    context does not name the one around it, but has to remember it for when it is left.
    """
    found: list[tuple[UUID, int]] = []
    context = TaskRunContext.get()
    if (
        context is None
        or context.task.fn.__module__.partition(".")[0] != __name__.partition(".")[0]
    ):
        found.append((uuid4(), 1))  # the function in our task was called: no task run, but a call
    while isinstance(context, TaskRunContext) and context.task_run.flow_run_id == flow_run.id:
        found.insert(0, (context.task_run.id, context.task_run.run_count))
        context = getattr(context._token, "old_value", None)  # noqa: SLF001  # the only way there
    return found
