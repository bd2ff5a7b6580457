"""A whole Airflow 3 on this machine: four processes, a home of their own, and its REST API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

T = TypeVar("T")

BUSY = "Database error"
"""What Airflow says of an error of its database; the details are in its log only."""

PROCESSES = (
    ("api-server", "-H", "127.0.0.1", "-w", "1"),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)


def until(what: str, look: Callable[[], T], limit: float = 60.0) -> T:
    """Look until there is something to see; fail when that takes too long."""
    end = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
        time.sleep(0.3)
    return seen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Deployment:
    """Four processes of Airflow, from healthy to gone.

    Args:
        dags: The folder of the DAGs.
        slots: How many tasks can run at the same time.
    """

    def __init__(self, dags: Path, *, slots: int = 1) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="airflow-deployment-"))
        self._port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = ""
        url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(slots),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": "gZUJBVHBcUgsUaSFuCoYxSA7hSwBAbCQUyMaB_HeEQ8=",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__SECRET_KEY": "made-up-for-the-tests",
            "AIRFLOW__API_AUTH__JWT_SECRET": "made-up-for-the-tests-too-and-long-enough-for-hs512-",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # apache/airflow#67287
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self._run("db", "migrate").wait(60)
        self._processes = [self._run(*words) for words in PROCESSES]
        until("Airflow is healthy", self._healthy)
        self._token = self.api("GET", "/auth/token")["access_token"]

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{words[0]}.out").open("wb") as out:
            return subprocess.Popen(  # noqa: S603  # the command of this very environment
                [Path(sys.executable).with_name("airflow"), *words],
                env=self._environment,
                cwd=self.home,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _healthy(self) -> bool:
        assert all(each.poll() is None for each in self._processes), self.output()
        try:
            health = self.api("GET", "/api/v2/monitor/health")
        except (URLError, ConnectionError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def _stop(self) -> None:
        """End the processes with all that they have started, and take the home away."""
        for how, limit in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            for process in self._processes:
                try:
                    os.killpg(process.pid, how)
                except ProcessLookupError:
                    continue
            end = time.monotonic() + limit
            for process in self._processes:
                try:
                    process.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        shutil.rmtree(self.home, ignore_errors=True)

    def output(self) -> str:
        """Return what the processes have written last, for a failure's message."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in self.home.glob("*.out")
        )

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Airflow's REST API.

        Its server and its tasks keep each other from writing to SQLite now and then, about once in
        150 requests: after 5 s it answers 500, with nothing done, and is asked again.
        """
        request = Request(  # our own address
            f"http://127.0.0.1:{self._port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        for left in (2, 1, 0):
            try:
                with urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.load(answer)
            except HTTPError as error:
                told = error.read().decode()
                if not (left and error.code == HTTPStatus.INTERNAL_SERVER_ERROR and BUSY in told):
                    error.add_note(f"{told}\n{self.output()}")
                    raise
        raise AssertionError

    def connect(self, name: str, **fields: Any) -> None:
        """Save a connection in Airflow's database."""
        self.api("POST", "/api/v2/connections", {"connection_id": name, **fields})

    def known(self, *dag_ids: str) -> bool:
        """Say whether Airflow has parsed these DAGs."""
        found = self.api("GET", "/api/v2/dags?limit=100")["dags"]
        return set(dag_ids) <= {dag["dag_id"] for dag in found}

    def trigger(self, dag_id: str) -> None:
        """Start a run of a DAG, its only one."""
        body = {"logical_date": None, "dag_run_id": "only"}
        self.api("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)

    def tasks(self, dag_id: str, task_id: str = "gate") -> list[dict[str, Any]]:
        """Return what Airflow tells of a task's instances."""
        listed = self.api("GET", f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances?limit=100")
        return [each for each in listed["task_instances"] if each["task_id"] == task_id]

    def states(self, dag_id: str, task_id: str = "gate") -> list[str | None]:
        """Return the states of a task's instances."""
        return [each["state"] for each in self.tasks(dag_id, task_id)]

    def ended(self, dag_id: str, limit: float = 60.0) -> dict[str, Any]:
        """Wait until a gate has ended; return what Airflow tells of it."""

        def look() -> list[dict[str, Any]]:
            done = {"success", "failed", "skipped", "upstream_failed"}
            return [each for each in self.tasks(dag_id) if each["state"] in done]

        return until(f"{dag_id} has ended", look, limit)[0]

    def set_state(self, dag_id: str, state: str) -> None:
        """Mark a gate, as a person does in the browser."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/gate"
        self.api("PATCH", path, {"new_state": state})

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
