"""Which result of an earlier attempt a task may take over, instead of starting a second test run.

Prefect's default policy compares the inputs within one flow run. That is too wide for a release
gate: a flow that deploys, tests, deploys again and tests again with the same arguments would get
the first run, and its old verdict, twice. It also compares secrets as they are shown, masked: two
projects with a key each would share one run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from prefect.cache_policies import CachePolicy
from prefect.context import FlowRunContext, TaskRunContext

from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.prefect.arguments import request_of

__all__ = ["SAME_CALL_OF_SAME_FLOW_RUN"]

_lock = threading.Lock()
_calls: dict[str, list[UUID]] = {}
"""Which task runs made the same call in the same attempt of a flow run, in their order."""


def _key(context: TaskRunContext, arguments: dict[str, Any]) -> str | None:
    """Return a key that only the same call has: in the same flow run, the same request, its n-th.

    None means: start a test run, take nothing over.
    """
    flow_run = FlowRunContext.get()
    # Outside of a flow run nothing is repeated, and in another process calls cannot be counted.
    if flow_run is None or flow_run.detached:
        return None
    if any(isinstance(value, Iterator) for value in arguments.values()):
        return None  # looking into it would use it up before the task does
    try:
        request = request_of(arguments)
    except InvalidRequestError:
        return None  # the task is about to say so
    task_run, credentials = context.task_run, arguments["credentials"]
    call = _digest(
        str(task_run.flow_run_id),
        credentials.api_key.get_secret_value(),
        credentials.base_url,
        credentials.project_id,
        request.body(),
    )
    with _lock:
        same = _calls.setdefault(f"{call} in attempt {task_run.flow_run_run_count}", [])
        if task_run.id not in same:  # a retried task run asks again
            same.append(task_run.id)
        return f"empirical-test-run-{call}-{same.index(task_run.id)}"


def _digest(*parts: Any) -> str:
    """Hash it: the key becomes a file's name. The API key in it keeps the rest from guessing."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


SAME_CALL_OF_SAME_FLOW_RUN = CachePolicy.from_cache_key_fn(_key)
