"""Which call of a flow this is, so that a later attempt of the flow knows it again.

Prefect gives the tasks of each attempt new ids and names. What stays is the request, the tasks of
the user's around it with their parameters, and which of the same calls in its attempt it is: a flow
that deploys, tests, deploys again and tests again with the same arguments makes two calls, and must
not get the first one's verdict twice. The parameters count because a count alone would move where a
later attempt takes the result of a task from Prefect's cache, and does not run what is in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Hashable, Iterator, Mapping
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID, uuid4
from weakref import ref

from prefect.context import ContextModel, FlowRunContext, TaskRunContext

from empirical_provider import request_digest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, TaskRun

    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.request import TestRunRequest

__all__ = [
    "digest_of",
    "flow_run_here",
    "flow_runs_here",
    "open_digest_of",
    "place_of",
    "place_of_subflow",
    "sealed_by",
    "without_parameters",
]

C = TypeVar("C", bound=ContextModel)

_lock = threading.Lock()


class _Calls:
    """What the calls of one flow run have shown so far; needed while it is in one of its contexts.

    Attributes:
        seen: Which task runs have made the same call in the same attempt, in their order.
        called: What each task run was called with at first, as a task may change a list that it was
            given.
    """

    def __init__(self) -> None:
        self.seen: dict[Hashable, list[UUID]] = {}
        self.called: dict[UUID, str] = {}
        self._contexts: list[ref[ContextModel]] = []

    def stay_with(self, context: ContextModel) -> None:
        """Note that it is called in a context."""
        others = [each for each in self._contexts if _is_entered(each()) and each() is not context]
        self._contexts = [*others, ref(context)]

    @property
    def is_needed(self) -> bool:
        """Whether it may be called again: where no context was there to tell, it may."""
        return not self._contexts or any(_is_entered(each()) for each in self._contexts)


_calls: dict[UUID, _Calls] = {}
"""Those of the flow runs of this process; what is over goes with the next call."""


def flow_run_here() -> FlowRun | None:
    """Return the flow run that this is called in."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def flow_runs_here() -> list[FlowRun]:
    """Return that flow run and those that it is a subflow of in this process, innermost first."""
    return [each.flow_run for each in _contexts(FlowRunContext) if each.flow_run]


def digest_of(credentials: EmpiricalCredentials, request: TestRunRequest) -> str:
    """Return a hash of what is asked of a project; without the API key it tells no value."""
    return sealed_by(credentials, request_digest.canonical(request))


def open_digest_of(credentials: EmpiricalCredentials, asked: TestRunRequest | str) -> str:
    """Return a hash of it without the values of overrides: another API key changes nothing."""
    if isinstance(asked, str):
        return request_digest.digest(credentials.base_url, credentials.project_id, asked)
    body = request_digest.canonical(asked)
    body["environment_variables_overrides"] = sorted(
        body.get("environment_variables_overrides", ())
    )
    return request_digest.digest(credentials.base_url, credentials.project_id, body)


def sealed_by(credentials: EmpiricalCredentials, *parts: Any) -> str:
    """Return a hash of plain data that tells nothing to anybody without the API key."""
    api_key = credentials.api_key.get_secret_value()
    return request_digest.sealed(api_key, credentials.base_url, credentials.project_id, *parts)


def without_parameters(place: Any) -> Any:
    """Return a place without what its tasks were called with, which may be secrets."""
    if isinstance(place, list):
        return [without_parameters(each) for each in place]
    return "" if isinstance(place, str) and re.fullmatch("[0-9a-f]{32}", place) else place


def place_of(digest: str, flow_run: FlowRun) -> list[Any]:
    """Return which of the calls with this digest this is, the same in each attempt of the flow.

    In another process the calls of a flow cannot be counted, only those of a task. There the task
    run stands for itself: it stays the same when it is retried, but not when the flow is.
    """
    around = _task_runs_in(flow_run.id)
    context = TaskRunContext.get()
    if (
        context is None
        or context.task.fn.__module__.partition(".")[0] != __name__.partition(".")[0]
    ):
        around.append(_TaskRun(uuid4(), 1, ""))  # the function in our task was called: still a call
    elif around:
        around[-1] = around[-1]._replace(what="")  # the digest says it
    return _counted(digest, flow_run, around)


def place_of_subflow(
    digest: str, flow_run: FlowRun, stand_in: TaskRun, parent: FlowRun
) -> list[Any]:
    """Return which of its flow's subflows this is, for the calls with this digest.

    Args:
        digest: As for `place_of`.
        flow_run: The subflow's run.
        stand_in: The task run that stands for it in the flow that has called it.
        parent: That flow's run.
    """
    name = _name_of(stand_in.task_key)
    around = _task_runs_in(parent.id)
    if not around:
        return [name, stand_in.dynamic_key]
    # In a task Prefect's key is random, or counts on when the task is retried.
    around.append(
        _TaskRun(stand_in.id, 1, _what(parent.id, stand_in.id, name, flow_run.parameters))
    )
    return _counted(digest, parent, around)


class _TaskRun(NamedTuple):
    """An attempt of a task run, and what is told apart of its task: its name and parameters."""

    id: UUID
    attempt: int
    what: str


def _calls_of(flow_run_id: UUID) -> _Calls:
    """Return the calls of a flow run; the lock must be held."""
    for over in [each for each, calls in _calls.items() if not calls.is_needed]:
        del _calls[over]
    calls = _calls.setdefault(flow_run_id, _Calls())
    for flow in _contexts(FlowRunContext):
        if _is_of(flow, flow_run_id):
            calls.stay_with(flow)
    for task in _contexts(TaskRunContext):
        if task.task_run.flow_run_id == flow_run_id:
            calls.stay_with(task)
    return calls


def _counted(digest: str, flow_run: FlowRun, around: list[_TaskRun]) -> list[Any]:
    """Return the place of the last of these task runs, which are in one another, outermost first.

    A task of the user's that calls ours and is retried makes a new task run of ours each time.
    """
    place: list[Any] = []
    scope: Hashable = (flow_run.id, flow_run.run_count)
    if any(each.detached for each in _contexts(FlowRunContext) if _is_of(each, flow_run.id)):
        first = around.pop(0)
        scope = (first.id, first.attempt)
        place.append(str(first.id))
    with _lock:
        seen = _calls_of(flow_run.id).seen
        for each in around:
            same = seen.setdefault((digest, scope, each.what), [])
            if each.id not in same:  # a retried task run asks again
                same.append(each.id)
            place.append([each.what, same.index(each.id)])
            scope = (each.id, each.attempt)
    return place


def _task_runs_in(flow_run_id: UUID) -> list[_TaskRun]:
    """Return the task runs of a flow run that this is called in, outermost first.

    Prefect may enter the context of a task run twice.
    """
    found = {
        each.task_run.id: _TaskRun(
            each.task_run.id,
            each.task_run.run_count,
            _what(flow_run_id, each.task_run.id, _name_of(each.task.task_key), each.parameters),
        )
        for each in _contexts(TaskRunContext)
        if each.task_run.flow_run_id == flow_run_id
    }
    return [*found.values()][::-1]


def _contexts(kind: type[C]) -> Iterator[C]:
    """Return the contexts of a kind that this is called in, innermost first.

    A context does not name the one around it, but has to remember it for when it is left.
    """
    context = kind.get()
    while isinstance(context, kind):
        yield context
        context = getattr(context._token, "old_value", None)  # noqa: SLF001  # the only way there


def _is_entered(context: ContextModel | None) -> bool:
    return context is not None and context._token is not None  # noqa: SLF001  # as above


def _is_of(context: FlowRunContext, flow_run_id: UUID) -> bool:
    return context.flow_run is not None and context.flow_run.id == flow_run_id


def _name_of(task_key: str) -> str:
    """Return a task's key without the hash of its code: another process has another one."""
    return task_key.rpartition("-")[0] or task_key


def _what(flow_run_id: UUID, task_run_id: UUID, name: str, parameters: Mapping[str, Any]) -> str:
    """Return a hash of what a task run was called with, in this attempt of its flow."""
    with _lock:
        called = _calls_of(flow_run_id).called
        known = called.get(task_run_id)
    if known is None:
        parts = [name, {key: _plain_or_type(value) for key, value in parameters.items()}]
        known = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    with _lock:
        return called.setdefault(task_run_id, known)


def _plain_or_type(parameter: object) -> object:
    try:
        return _plain(parameter)
    except RecursionError:  # a list that holds itself
        return [type(parameter).__qualname__]


def _plain(value: object) -> object:
    """Return what is the same in each process: data by their value, other objects by their type.

    An object may be a secret, and its text may name a place in memory.
    """
    kind = type(value).__qualname__
    if isinstance(value, Enum):
        return [kind, value.name]
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (date, datetime, UUID, PurePath)):
        return [kind, str(value)]
    if isinstance(value, (list, tuple)):
        return ["", *map(_plain, value)]
    if isinstance(value, dict):
        return {
            json.dumps(_plain(key), sort_keys=True): _plain(each) for key, each in value.items()
        }
    return [kind]
