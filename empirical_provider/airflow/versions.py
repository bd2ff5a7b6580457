"""The one place that knows where each Airflow keeps what this package uses.

Airflow 2.11 has it under ``airflow.models`` and friends; 3.0 began to move it to ``airflow.sdk``.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from empirical_provider.exceptions import EmpiricalError

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseBranchOperator",
    "BaseEventTrigger",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "TriggerEvent",
    "XComArg",
    "continues_after_on_kill",
    "default_deferrable",
    "deployment_url",
    "final",
    "find",
    "in_async",
    "is_deferred",
    "is_meant_to_run",
    "mask_secret",
    "on_kill_timeout",
    "read_xcom",
    "skip_in_mapped_task_group",
    "started_at",
    "states_of",
    "task_url",
    "timeout_spans_deferral",
]

T = TypeVar("T")


def find(*places: str) -> Any:
    """Return the first of ``module:name`` that this Airflow has."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"This Airflow has none of {', '.join(places)}.")


if TYPE_CHECKING:  # types are checked against the newest Airflow
    from airflow.providers.standard.operators.branch import BaseBranchOperator
    from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, XComArg
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

_PLACES = {
    "BaseBranchOperator": (
        "airflow.providers.standard.operators.branch:BaseBranchOperator",
        "airflow.operators.branch:BaseBranchOperator",
    ),
    "BaseHook": ("airflow.sdk:BaseHook", "airflow.hooks.base:BaseHook"),
    "BaseOperator": ("airflow.sdk:BaseOperator", "airflow.models.baseoperator:BaseOperator"),
    "BaseOperatorLink": (
        "airflow.sdk:BaseOperatorLink",
        "airflow.models.baseoperatorlink:BaseOperatorLink",
    ),
    "BaseSensorOperator": (
        "airflow.sdk:BaseSensorOperator",
        "airflow.sensors.base:BaseSensorOperator",
    ),
    "BaseEventTrigger": ("airflow.triggers.base:BaseEventTrigger",),  # from 3.0 on
    "BaseTrigger": ("airflow.triggers.base:BaseTrigger",),
    "TriggerEvent": ("airflow.triggers.base:TriggerEvent",),
    "XComArg": ("airflow.sdk:XComArg", "airflow.models.xcom_arg:XComArg"),
    **{
        name: (f"airflow.sdk.exceptions:{name}", f"airflow.exceptions:{name}")
        for name in (
            "AirflowException",
            "AirflowFailException",
            "AirflowRescheduleException",
            "AirflowSkipException",
            "AirflowTaskTimeout",
        )
    },
}


def __getattr__(name: str) -> Any:
    """Find what Airflow has under this name, on first use: a DAG's parsing pays for no more."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = find(*_PLACES[name])
    return found


@contextmanager
def final() -> Iterator[None]:
    """Make errors of the core final, unless they may pass: no retry mends the others."""
    from empirical_provider.airflow.versions import AirflowException, AirflowFailException

    try:
        yield
    except EmpiricalError as error:
        if error.may_pass or isinstance(error, AirflowException):
            raise
        raise AirflowFailException(str(error)) from error


def default_deferrable() -> bool:
    """Return whether tasks defer that do not say: ``[operators] default_deferrable``."""
    configured = find("airflow.configuration:conf").getboolean
    return bool(configured("operators", "default_deferrable", fallback=False))


def deployment_url() -> str | None:
    """Return the address of this Airflow's UI, as far as it is configured."""
    configured = find("airflow.configuration:conf").get
    places = (("api", "base_url"), ("webserver", "base_url"))  # the second is 2.11's
    return next(filter(None, (configured(*each, fallback=None) for each in places)), None)


def started_at(context: Any) -> float:
    """Return when a task began, in seconds since the epoch, before any reschedule or deferral.

    Before 3.3 a task that was deferred begins anew.
    """
    ti = context["ti"]
    first_reschedule = getattr(ti, "get_first_reschedule_date", _first_reschedule)
    began = first_reschedule(context) or ti.start_date
    return float(began.timestamp()) if began else time.time()


def _first_reschedule(context: Any) -> Any:
    """Return what `get_first_reschedule_date` does from 3.0 on, the way 2.11's sensors find it."""
    ti = context["ti"]
    task = getattr(ti, "task", None)
    if task is None or not getattr(task, "reschedule", False):
        return None
    return find("airflow.sensors.base:_orig_start_date")(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        try_number=(ti.max_tries or 0) - (task.retries or 0) + 1,  # the first since a clear
    )


def mask_secret(value: str) -> None:
    """Have Airflow mask a value wherever it writes logs.

    One that is shorter than Airflow masks, which would do no more than warn, is left out.
    """
    setting = find("airflow.configuration:conf").getint
    if len(value) < setting("logging", "min_length_masked_secret", fallback=5):
        return
    find(
        "airflow.sdk.log:mask_secret",
        "airflow.sdk.execution_time.secrets_masker:mask_secret",  # 3.0
        "airflow.utils.log.secrets_masker:mask_secret",  # 2.11
    )(value)


def read_xcom(ti_key: Any, key: str) -> Any:
    """Read one XCom of a task instance, in the task's process or, before 3.0, the webserver's."""
    xcom = find("airflow.sdk.execution_time.xcom:XCom", "airflow.models.xcom:XCom")
    return xcom.get_value(ti_key=ti_key, key=key)


def timeout_spans_deferral() -> bool:
    """Return whether Airflow counts a deferral in ``execution_timeout``, as it does before 3.0."""
    return bool(find("airflow:__version__").startswith("2."))


def continues_after_on_kill() -> bool:
    """Return whether Airflow continues a task after its `on_kill`; before 3.0 it raises instead."""
    return not find("airflow:__version__").startswith("2.")


def task_url(ti: Any) -> str | None:
    """Return the page of a task instance in Airflow's UI, if that can be told."""
    url: str | None = getattr(ti, "log_url", None)
    base = deployment_url()
    if url is None and base:  # 3.0 knows the page, but not in a task
        run = f"{base.rstrip('/')}/dags/{ti.dag_id}/runs/{quote(ti.run_id, safe='')}"
        mapped = f"/mapped/{ti.map_index}" if (ti.map_index or 0) >= 0 else ""
        url = f"{run}/tasks/{ti.task_id}{mapped}"
    return url


def is_deferred(ti: Any) -> bool:
    """Ask, from a triggerer, whether a task instance is deferred. Airflow 3.3 or newer."""
    runtime = find("airflow.sdk.execution_time.task_runner:RuntimeTaskInstance")
    states = runtime.get_task_states(
        dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id], map_index=ti.map_index
    )
    return "deferred" in states.get(ti.run_id, {}).values()


def on_kill_timeout() -> float:
    """Return the seconds that Airflow gives the `on_kill` of a trigger. Airflow 3.3 or newer."""
    configured = find("airflow.configuration:conf").getfloat
    return float(configured("triggerer", "on_kill_timeout", fallback=30.0))


_MEANT_TO_RUN = {
    "scheduled",
    "queued",
    "running",
    "deferred",
    "up_for_retry",
    "up_for_reschedule",
}


def is_meant_to_run(ti: Any) -> bool:
    """Ask, from a worker, whether a task instance is still to be run, by this process or a retry.

    It is not once a user has marked it, cleared it (then it is "restarting") or failed its DAG run.

    Raises:
        Exception: Airflow could not be asked, or does not know the task instance.
    """
    return states_of(ti, ti.task_id, ti.map_index)[ti.map_index] in _MEANT_TO_RUN


def states_of(ti: Any, task_id: str, map_index: int | None = None) -> dict[int, str | None]:
    """Return the states of a task's instances in this DAG run, by map index; of all, or of one."""
    if not hasattr(ti, "get_task_states"):  # 2.11
        found = find("airflow.models.dagrun:DagRun").fetch_task_instances(
            dag_id=ti.dag_id, run_id=ti.run_id, task_ids=[task_id]
        )
        states = {each.map_index: each.state for each in found}
        return {i: state for i, state in states.items() if map_index in {None, i}}
    told = ti.get_task_states(
        dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[task_id], map_index=map_index
    )
    named = told.get(ti.run_id, {}).items()  # a mapped task has its index behind its id
    return {int(name[len(task_id) + 1 :] or -1): state for name, state in named}


def skip_in_mapped_task_group(tasks: Any) -> bool:
    """Skip tasks behind a branch where the host's `SkipMixin` does not; return False where it does.

    From 3.0 on the host's does nothing in a mapped task group, where both ways would be taken
    (apache/airflow#67265): the tasks are named with their map index, and skipped as others are.
    2.11's leaves them to the scheduler, which does right.
    """
    if find("airflow:__version__").startswith("2."):
        return False
    if tasks:
        raise find(
            "airflow.sdk.exceptions:DownstreamTasksSkipped",
            "airflow.exceptions:DownstreamTasksSkipped",
        )(tasks=tasks)
    return True


async def in_async(look_up: Callable[[], T]) -> T:
    """Look a connection up from a coroutine, without blocking the loop.

    Airflow's look-up is synchronous. It runs in asgiref's thread, which is what lets the
    triggerer's own bridge back to its loop work; `BaseHook.aget_connection` is there only from
    3.1, and is not safe in a triggerer before 3.3.2.
    """
    from asgiref.sync import sync_to_async

    return await sync_to_async(look_up)()
