"""A whole Airflow 3 on this machine: its processes, a home of their own, and its REST API."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.airflow.migrated import copy_migrated
from tests.deployment.processes import Processes, free_port, until

AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))

BUSY = "Database error"
"""What Airflow says of an error of its database; the details are in its log only."""

ASKED = 5
"""Times at most that Airflow's REST API is asked for the same thing while its database is busy."""

PATIENCE = 60
"""Seconds to wait for a lock of SQLite; a scheduler that has waited in vain ends."""

PATIENCE_OF_SERVER = 3
"""Seconds that the API server waits for one. It may be its own: it writes who has asked for what
in its event loop, while another request of its holds the lock and needs that loop to go on. Nobody
gets an answer until one of them gives up. If that takes long, running tasks are taken for lost."""

DONE = {"success", "failed", "skipped", "upstream_failed"}


class Deployment:
    """A whole Airflow, from healthy to gone: API server, scheduler, DAG processor, triggerer(s).

    Args:
        dags: The folder of the DAGs.
        slots: How many tasks can run at the same time.
        database: The SQLAlchemy address of an empty database; default: a SQLite file in the home.
        triggerers: How many triggerers there are: ``triggerer``, ``triggerer-2`` and so on.
    """

    def __init__(
        self, dags: Path, *, slots: int = 4, database: str | None = None, triggerers: int = 1
    ) -> None:
        self._processes = Processes("airflow-deployment")
        self.home = self._processes.home
        self.database = database or f"sqlite:///{self.home / 'airflow.db'}?timeout={PATIENCE}"
        self._triggerers = triggerers
        self._token = ""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",  # the DAGs are made by a module
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(slots),
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": "gZUJBVHBcUgsUaSFuCoYxSA7hSwBAbCQUyMaB_HeEQ8=",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__ENABLE_XCOM_DESERIALIZE_SUPPORT": "True",  # 3.0 shows no value without
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__SECRET_KEY": "made-up-for-the-tests",
            "AIRFLOW__API_AUTH__JWT_SECRET": "made-up-for-the-tests-too-and-long-enough-for-hs512-",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database,
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # apache/airflow#67287
            "NO_PROXY": "127.0.0.1",
            "SPT_NOENV": "1",  # Airflow names its processes: that must not cost them their mark
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._processes.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._processes.end()

    def _start(self) -> None:
        self._processes.bring_up("Airflow", self._start_processes, self.healthy)
        self._token = self.api("GET", "/auth/token")["access_token"]

    def _start_processes(self) -> None:
        if self.database.startswith("sqlite"):
            copy_migrated(self.home / "airflow.db")
        else:
            command: list[str | Path] = [Path(sys.executable).with_name("airflow"), "db", "migrate"]
            self._processes.once("db", command, self.environment, self.home)
        words = ("api-server", "-H", "127.0.0.1", "-w", "1")
        address = self.database.replace(f"timeout={PATIENCE}", f"timeout={PATIENCE_OF_SERVER}")
        self._run("api-server", *words, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=address)
        self._run("scheduler", "scheduler", "--skip-serve-logs")
        self._run("dag-processor", "dag-processor")
        for number in range(1, self._triggerers + 1):
            name = "triggerer" if number == 1 else f"triggerer-{number}"
            self._run(name, "triggerer", "--skip-serve-logs")

    def _run(self, name: str, *words: str, **settings: str) -> None:
        command: list[str | Path] = [Path(sys.executable).with_name("airflow"), *words]
        self._processes.start(name, command, self.environment | settings, self.home)

    def healthy(self) -> bool:
        """Return whether all parts are up."""
        try:
            health = self.api("GET", "/api/v2/monitor/health")
        except (URLError, ConnectionError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    # Its processes

    def kill(self, name: str, how: signal.Signals) -> None:
        """End one of the processes by a signal to it alone."""
        self._processes.kill(name, how)

    def again(self, name: str) -> None:
        """Start one that has ended again."""
        self._processes.again(name)

    def output(self) -> str:
        """Return what the processes have written last, for a failure's message."""
        return self._processes.output()

    # Its REST API

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Airflow's REST API.

        Its server and its tasks keep each other from writing to SQLite now and then: where SQLite
        cannot wait, it answers 500, with nothing done, and is asked again.
        """
        request = Request(  # noqa: S310  # our own address
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        for left in reversed(range(ASKED)):
            try:
                with urlopen(request, timeout=90) as answer:  # noqa: S310
                    return json.load(answer)
            except HTTPError as error:
                told = error.read().decode()
                if not (left and error.code == HTTPStatus.INTERNAL_SERVER_ERROR and BUSY in told):
                    error.add_note(f"{told}\n{self.output()}")
                    raise
        raise AssertionError

    def connect(self, name: str, **fields: Any) -> None:
        """Save a connection in Airflow's database, in place of one of that name."""
        known = self.api("GET", "/api/v2/connections?limit=100")["connections"]
        body = {"connection_id": name, "conn_type": "empirical", **fields}
        if name in [each["connection_id"] for each in known]:
            self.api("PATCH", f"/api/v2/connections/{name}", body)
        else:
            self.api("POST", "/api/v2/connections", body)

    def set_variable(self, name: str, value: str) -> None:
        """Save a Variable in Airflow's database."""
        self.api("POST", "/api/v2/variables", {"key": name, "value": value})

    def known(self, *dag_ids: str) -> bool:
        """Say whether Airflow has parsed these DAGs; fail where one cannot be imported."""
        broken = self.api("GET", "/api/v2/importErrors")["import_errors"]
        assert not broken, "\n".join(each["stack_trace"] for each in broken)
        found = self.api("GET", "/api/v2/dags?limit=100")["dags"]
        return set(dag_ids) <= {dag["dag_id"] for dag in found}

    def trigger(self, *dag_ids: str) -> None:
        """Start a run of each DAG, its only one, once they are parsed."""
        until(f"{', '.join(dag_ids)} parsed", lambda: self.known(*dag_ids))
        for dag_id in dag_ids:
            body = {"logical_date": None, "dag_run_id": "only"}
            self.api("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)

    def tasks(self, dag_id: str, task_id: str = "gate") -> list[dict[str, Any]]:
        """Return what Airflow tells of a task's instances."""
        listed = self.api("GET", f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances?limit=100")
        return [each for each in listed["task_instances"] if each["task_id"] == task_id]

    def states(self, dag_id: str, task_id: str = "gate") -> list[str | None]:
        """Return the states of a task's instances."""
        return [each["state"] for each in self.tasks(dag_id, task_id)]

    def dag_state(self, dag_id: str) -> str:
        """Return the state of a DAG's run."""
        state: str = self.api("GET", f"/api/v2/dags/{dag_id}/dagRuns/only")["state"]
        return state

    def waits_deferred(self, dag_id: str, count: int = 1) -> None:
        """Wait until this many instances of a gate are deferred."""

        def look() -> bool:
            states = self.states(dag_id)
            assert "failed" not in states, self.log(dag_id)
            return states.count("deferred") == count

        until(f"{count} x {dag_id} deferred", look)

    def ended(self, dag_id: str) -> dict[str, Any]:
        """Wait until a gate has ended; return what Airflow tells of it."""

        def look() -> list[dict[str, Any]]:
            return [each for each in self.tasks(dag_id) if each["state"] in DONE]

        return until(f"{dag_id} has ended", look)[0]

    def set_state(self, dag_id: str, state: str) -> None:
        """Mark a gate, as a person does in the browser."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/gate"
        self.api("PATCH", path, {"new_state": state})

    def set_dag_state(self, dag_id: str, state: str) -> None:
        """Mark a DAG run, as a person does in the browser."""
        self.api("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/only", {"state": state})

    def clear(self, dag_id: str) -> None:
        """Clear a gate, as a person does in the browser."""
        what = {"task_ids": ["gate"], "dag_run_id": "only"}
        how = {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
        self.api("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", {**what, **how})

    def xcom(self, dag_id: str, key: str, map_index: int = -1) -> Any:
        """Return an XCom of a gate."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/gate/xcomEntries/{key}"
        return self.api("GET", f"{path}?deserialize=true&map_index={map_index}")["value"]

    def log(self, dag_id: str) -> str:
        """Return the whole log of a gate, the triggerer's part included."""
        folder = self.home / "logs" / f"dag_id={dag_id}"
        return "\n".join(
            path.read_text(errors="replace")
            for path in sorted(folder.rglob("*.log*"))
            if "task_id=gate" in str(path)
        )


def seconds(task: Mapping[str, Any]) -> float:
    """Return how long a task took, by Airflow's own times."""
    start, end = (datetime.fromisoformat(task[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()
