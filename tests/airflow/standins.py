"""Tasks run in process: stand-ins for what Airflow gives them, and one way to run any mode."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor
from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger
from empirical_provider.airflow.versions import find

AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))
"""Its version, as far as tests care."""

AirflowFailException = find(
    "airflow.sdk.exceptions:AirflowFailException", "airflow.exceptions:AirflowFailException"
)
AirflowRescheduleException = find(
    "airflow.sdk.exceptions:AirflowRescheduleException",
    "airflow.exceptions:AirflowRescheduleException",
)
AirflowSkipException = find(
    "airflow.sdk.exceptions:AirflowSkipException", "airflow.exceptions:AirflowSkipException"
)
AirflowTaskTimeout = find(
    "airflow.sdk.exceptions:AirflowTaskTimeout", "airflow.exceptions:AirflowTaskTimeout"
)
TaskDeferred = find("airflow.sdk.exceptions:TaskDeferred", "airflow.exceptions:TaskDeferred")


class TaskInstance:
    """Stands in for Airflow's, which needs a whole DAG run; keeps what is pushed."""

    dag_id, run_id, task_id, map_index = "release", "manual__1", "e2e", -1
    state: str | None = "running"
    """What Airflow says of it to whoever asks."""

    def __init__(self, *, try_number: int = 1, max_tries: int = 0) -> None:
        self.try_number, self.max_tries = try_number, max_tries
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}

    def retried(self) -> TaskInstance:
        """Return this in its next try, as Airflow makes it by itself."""
        return type(self)(try_number=self.try_number + 1, max_tries=self.max_tries)

    def cleared(self, retries: int = 0) -> TaskInstance:
        """Return this in its next try, after a person has cleared the task."""
        return type(self)(try_number=self.try_number + 1, max_tries=self.try_number + retries)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int = -1) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)

    def get_task_states(
        self, *, dag_id: str, run_ids: list[str], task_ids: list[str], map_index: int | None
    ) -> Any:
        """Return its own state, or that all tasks before have succeeded, as Airflow 3 does."""
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        if task_ids == [self.task_id]:
            assert map_index == self.map_index
            return {self.run_id: {self.task_id: self.state}}
        assert map_index is None
        return {self.run_id: dict.fromkeys(task_ids, "success")}


class Store:
    """Stands in for Airflow's task state store, which is there from 3.3 on."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self._kept[key]) if key in self._kept else default

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self._kept[key] = json.dumps(value)


def context_of(ti: TaskInstance, **more: Any) -> dict[str, Any]:
    return {"ti": ti, "logical_date": None, **more}


def gate(**fields: Any) -> EmpiricalTriggerTestRunOperator:
    """Return an operator that waits, quickly, unless it is said not to."""
    given = {"environment": "staging", "wait_for_completion": True, **fields}
    quickly = {"poll_interval": 0.02} if given["wait_for_completion"] else {}
    return EmpiricalTriggerTestRunOperator(task_id="e2e", **{**quickly, **given})


def sensor(**fields: Any) -> EmpiricalTestRunSensor:
    """Return a sensor that looks often."""
    return EmpiricalTestRunSensor(task_id="e2e", **{"poke_interval": 0.02, **fields})


def stored(trigger: Any) -> EmpiricalTestRunTrigger:
    """Return a trigger as it comes out of Airflow's database."""
    path, kwargs = trigger.serialize()
    return find(path.replace(".Empirical", ":Empirical"))(**json.loads(json.dumps(kwargs)))


def event_of(trigger: EmpiricalTestRunTrigger) -> Any:
    """Run a trigger until its event; return the event as it comes out of Airflow's database."""

    async def first() -> Any:
        async with contextlib.aclosing(trigger.run()) as events:
            return [event.payload async for event in events]

    [payload] = asyncio.run(first())
    return json.loads(json.dumps(payload))


def run(task: Any, ti: TaskInstance, **more: Any) -> Any:
    """Run a task to its end, whatever it waits by, in a new process each time Airflow would."""
    context = context_of(ti, **more)
    try:
        while True:
            try:
                return task.execute(context)
            except AirflowRescheduleException:
                continue
    except TaskDeferred as deferred:
        event = event_of(stored(deferred.trigger))
        kwargs = {**(deferred.kwargs or {}), "event": event}
        resumed = again(task)
        return resumed.resume_execution(deferred.method_name, kwargs, context)


def again(task: Any) -> Any:
    """Return the task as a new process has it: without what the first one knew."""
    for name in ("_run_id", "_hook", "_ti", "_killed", "_ending", "_asked_to_stop"):
        task.__dict__.pop(name, None)
    return task
