"""One run for a task, whatever crashes: Airflow's context in the core's words.

A retry goes on with the run of the try before; a clear asks for a fresh one. Airflow counts both as
tries of one task instance, and tells them apart by ``max_tries`` only: constant over automatic
retries, it grows with each clear. So it is the generation of the key.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from empirical_provider.airflow.rendered import refuse_leftovers
from empirical_provider.airflow.versions import deployment_url
from empirical_provider.exceptions import EmpiricalError, InvalidRequestError
from empirical_provider.trigger_once import TriggerOnce, is_intent

__all__ = ["Memory", "once_for"]

log = logging.getLogger(__name__)

_NAME = "empirical_test_run"
"""Where the task state store has what is saved: stored for as long as tasks are, so for ever."""

_DAY = 86_400.0


class Memory:
    """What the tries of a task leave for the next one: in Airflow's task state store (from 3.3).

    Without a store, or with one that cannot be read, a retry looks its run up. With one nothing is
    sent that is not saved before: where it holds nothing of this generation, nothing was sent.

    Args:
        context: Airflow's context of the task.
    """

    def __init__(self, context: Any) -> None:
        self._store = context.get("task_state_store")
        self._generation = _generation(context["ti"])
        self.knows = False
        """Whether what is saved tells all of earlier tries."""
        self.saved: Mapping[str, Any] | None = None
        """The core's record of the last request to start a run; None: nothing is saved."""
        self.origin = _origin_of(context)
        """What no other deployment has for this DAG run."""
        self._load()

    def save(self, record: Mapping[str, Any] | None) -> None:
        """Save the core's record; None says that nothing was started, which is worth knowing.

        Raises:
            EmpiricalError: It could not be saved, and a request to start a run would follow.
        """
        if self._store is None:
            return
        kept = {
            "generation": self._generation,
            "origin": self.origin,
            "record": None if record is None else dict(record),
        }
        try:
            self._store.set(_NAME, kept)
        except Exception as error:
            if is_intent(record):
                refused = EmpiricalError(
                    f"Airflow's task state store could not note that a test run is about to be "
                    f"started ({error!r}). No test run was started, as a retry could not tell; "
                    f"the next try starts it when the store can be written."
                )
                refused.may_pass = True
                raise refused from error
            log.warning("The task state store does not save, which only a retry needs: %r", error)

    def _load(self) -> None:
        """Read what was saved last, by this generation or another one."""
        if self._store is None:
            return
        try:
            kept = self._store.get(_NAME)
        except Exception as error:  # noqa: BLE001  # any of the host's: the gate goes on without
            log.warning("The task state store cannot be read; going on without it: %r", error)
            return
        match kept:
            case None:
                self.knows = True
            case {"generation": int(), "record": dict() | None as record, **more}:
                self.knows = True
                self.saved = record
                origin = more.get("origin")
                # A clear may give the DAG run another start; a re-run needs the key from before.
                self.origin = origin if isinstance(origin, str) else self.origin


def once_for(
    context: Any, memory: Memory, *, key: str | None, retries: int, **options: Any
) -> TriggerOnce:
    """Return for what one run a task is meant, and what is known of its earlier tries.

    Args:
        context: Airflow's context of the task.
        memory: What earlier tries have left.
        key: The user's key, rendered. A task that was cleared does not go by it: a person who
            clears wants a fresh run, and others may go on with theirs.
        retries: The task's ``retries``.
        **options: Fields of `TriggerOnce`.

    Raises:
        InvalidRequestError: The key is empty, or the text of a template that has found nothing.
    """
    ti = context["ti"]
    if key is not None and str(key).strip() in {"", "None"}:
        raise InvalidRequestError(
            f"key must name what the run is for, not {str(key)!r}: its template finds nothing."
        )
    refuse_leftovers({"key": key})
    generation = _generation(ti)
    shared = key is not None and generation <= retries
    return TriggerOnce(
        key=key if shared and key is not None else _own_key(ti, memory.origin),
        generation=0 if shared else generation,
        shared=shared,
        saved=memory.saved,
        tried_since=None if memory.knows or _is_first(ti, retries) else _first_try_since(context),
        **options,
    )


def _generation(ti: Any) -> int:
    return max(0, ti.max_tries or 0)


def _own_key(ti: Any, origin: str) -> str:
    """Return what stays the same in each try of a task instance, and is nobody else's.

    Two deployments may run the same DAG for the same date, so the deployment is part of it.
    """
    index = ti.map_index if (ti.map_index or 0) >= 0 else None
    return json.dumps(["airflow", origin, ti.dag_id, ti.run_id, ti.task_id, index])


def _origin_of(context: Any) -> str:
    """Return what tells this deployment's DAG run from that of another one, with the same names.

    Where a deployment is found is set by few, and has a default. When it has started the DAG run,
    to the microsecond, is nobody else's; only a clear of one that has finished changes it.
    """
    began = getattr(context.get("dag_run"), "start_date", None)
    return f"{deployment_url()} {None if began is None else began.timestamp()}"


def _is_first(ti: Any, retries: int) -> bool:
    """Say whether this is the first try ever, or since a clear.

    A clear sets ``max_tries`` to the tries so far and ``retries``. Only the exact number counts:
    schedulers that start again may add tries, and ``retries`` may have changed meanwhile.
    """
    return bool(ti.try_number <= 1 or ti.try_number == _generation(ti) - retries + 1)


def _first_try_since(context: Any) -> float:
    """Return when the first try may have begun: not before its DAG run did."""
    began = getattr(context.get("dag_run"), "start_date", None)
    if began is not None:
        return float(began.timestamp())
    return float(context["ti"].start_date.timestamp()) - _DAY
