"""A real Airflow with a home of its own: its settings stand before anything imports Airflow."""

from __future__ import annotations

import atexit
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from empirical_provider import EmpiricalClient, TestRunRequest
from tests.airflow.migrated import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from empirical_provider.emulator import Emulator
    from tests.airflow.standins import TaskInstance

HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))
os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__API__BASE_URL": "http://localhost:8080",
        "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",  # 2.11 warns of anything else
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": "127.0.0.1",
    }
)


END = "ended with status "
"""What the server of commands says of one; Airflow's imports may print other lines."""


class CommandServer:
    """The process that runs Airflow's commands: see `command_server`."""

    _LIMIT = 280.0
    """Seconds after which a command counts as hanging."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            cwd=HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._output = HOME.with_suffix(".out")
        atexit.register(self._end)

    def run(self, *arguments: str, **environment: str) -> tuple[bool, str]:
        """Run a command; return whether it succeeded, and what it wrote."""
        assert self._process.stdin
        assert self._process.stdout
        command = {
            "arguments": arguments,
            "environment": {**os.environ, **environment},
            "folder": str(HOME),
            "output": str(self._output),
        }
        self._output.write_text("")
        print(json.dumps(command), file=self._process.stdin, flush=True)
        hanging = threading.Timer(self._LIMIT, self._kill)
        hanging.start()
        ends = (line for line in self._process.stdout if line.startswith(END))
        end = next(ends, "")
        hanging.cancel()
        output = self._output.read_text(errors="replace")
        assert end, f"the command hangs, or its server has ended:\n{output}"
        return int(end.removeprefix(END)) == 0, output

    def _end(self) -> None:
        """End it with the command that may still be running."""
        self._kill()
        self._process.communicate()

    def _kill(self) -> None:
        for each in psutil.Process(self._process.pid).children(recursive=True):
            each.kill()
        self._process.kill()


@cache
def _command_server() -> CommandServer:
    return CommandServer()


def airflow(*arguments: str, may_fail: bool = False, **environment: str) -> str:
    """Run the `airflow` command; return what it wrote, or fail with all of it."""
    succeeded, output = _command_server().run(*arguments, **environment)
    assert may_fail or succeeded, output
    return output


@pytest.fixture(scope="session")
def database() -> Path:
    """Return the file of Airflow's database, with its tables made."""
    file = HOME / "airflow.db"
    copy_migrated(file)
    return file


@pytest.fixture
def connection(
    empirical: Emulator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Define the connection `empirical_default`, to the local Empirical; `define` changes it."""
    fields = {"conn_type": "empirical", "password": api_key, "host": empirical.url}
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(fields))
    return fields


@pytest.fixture(params=["sync", "deferrable", "poke", "reschedule", "sensor deferrable"])
def wait(request: pytest.FixtureRequest, empirical: Emulator, api_key: str) -> Callable[..., Any]:
    """Return a function that starts a run in staging and waits for it, one way or the other."""
    from tests.airflow.standins import gate, run, sensor  # noqa: PLC0415  # loads Airflow

    way: str = request.param

    def by_operator(ti: TaskInstance, **fields: Any) -> Any:
        return run(gate(deferrable=way == "deferrable", **fields), ti)

    def by_sensor(ti: TaskInstance, **fields: Any) -> Any:
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run_id = client.trigger(TestRunRequest(environment="staging")).id
        how = {"deferrable": True} if "deferrable" in way else {"deferrable": False, "mode": way}
        return run(sensor(test_run_id=str(run_id), **how, **fields), ti)

    return by_operator if way in {"sync", "deferrable"} else by_sensor


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a refused run page end a wait at once, and not after a minute."""
    monkeypatch.setattr("empirical_provider.wait._GRACE", 0.1)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let triggers look at once, and count on lists: in process there is no race to lose."""
    task = "empirical_provider.airflow.waiting.WaitsForTestRun"
    monkeypatch.setattr(f"{task}.first_poll_delay", 0.0)
    operator = "empirical_provider.airflow.operators.EmpiricalTriggerTestRunOperator"
    monkeypatch.setattr(f"{operator}.visibility_grace", 0.0)


@pytest.fixture
def telling(empirical: Emulator) -> Emulator:
    """Let the local Empirical show what a run was started for, on its own page."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail | {"metadata"})
    return empirical


@pytest.fixture(params=[True, False], ids=["store", "no store"])
def host_has(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what else is in the context: the task state store, or nothing as before 3.3."""
    from tests.airflow.standins import Store  # noqa: PLC0415  # loads Airflow

    return {"task_state_store": Store()} if request.param else {}


MODES: dict[str, dict[str, Any]] = {
    "trigger only": {"wait_for_completion": False},
    "sync": {"deferrable": False},
    "deferrable": {"deferrable": True},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return each mode of the operator in turn."""
    return MODES[request.param]


class DagRun:
    """A DAG run made by `airflow dags test`, and what it left in the database."""

    def __init__(
        self,
        database: Path,
        folder: Path,
        dag_id: str,
        conf: dict[str, Any] | None = None,
        *,
        may_fail: bool = False,
    ) -> None:
        self.dag_id = dag_id
        self._database = database
        is_2 = version("apache-airflow").startswith("2.")
        where = ["-S", str(folder)] if is_2 else ["-f", str(folder / f"{dag_id}.py")]
        given = [] if conf is None else ["-c", json.dumps(conf)]
        self.output = airflow(
            *("dags", "test", dag_id, *where, *given),
            may_fail=may_fail,
            AIRFLOW__CORE__DAGS_FOLDER=str(folder),
        )
        newest = "SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1"
        [(self.run_id,)] = self._select(newest, dag_id)

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._database)) as connection:
            return connection.execute(query, values).fetchall()

    def _of_task(self, columns: str, table: str, task_id: str, map_index: int) -> Any:
        return self._select(
            f"SELECT {columns} FROM {table}"  # noqa: S608  # our own words
            " WHERE dag_id = ? AND run_id = ? AND task_id = ? AND map_index = ?",
            self.dag_id,
            self.run_id,
            task_id,
            map_index,
        )

    @property
    def states(self) -> set[str]:
        """The states that the tasks ended in."""
        query = "SELECT DISTINCT state FROM task_instance WHERE dag_id = ? AND run_id = ?"
        return {state for (state,) in self._select(query, self.dag_id, self.run_id)}

    def task(self, task_id: str, map_index: int = -1) -> tuple[str, int]:
        """Return the state of a task and the number of its last try."""
        [row] = self._of_task("state, try_number", "task_instance", task_id, map_index)
        return tuple(row)

    def xcoms(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the XComs of a task, as they are stored."""
        found = self._of_task("key, value", "xcom", task_id, map_index)
        # SQLite hands a JSON number back as a number.
        return {key: value if isinstance(value, int) else json.loads(value) for key, value in found}

    def rendered(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the rendered fields of a task, as they are stored and shown."""
        table = "rendered_task_instance_fields"
        [(fields,)] = self._of_task("rendered_fields", table, task_id, map_index)
        shown: dict[str, Any] = json.loads(fields)
        return shown


@pytest.fixture
def run_dag(database: Path, connection: dict[str, Any]) -> Any:
    """Run a DAG for real, in a folder, against the local Empirical."""
    del connection  # it is there: the command reads it from the environment

    def run(
        dag_id: str,
        folder: Path = Path(__file__).parent / "dags",
        conf: dict[str, Any] | None = None,
        *,
        may_fail: bool = False,
    ) -> DagRun:
        return DagRun(database, folder, dag_id, conf, may_fail=may_fail)

    return run


@pytest.fixture(autouse=True)
def _a_fresh_environment() -> Iterator[None]:
    """Let no setting of one test reach the next."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
