"""A PostgreSQL server of Debian's on this machine: a new, empty one each time."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.deployment.processes import Processes, free_port, until

ROLE = "airflow"


@contextmanager
def postgres() -> Iterator[str]:
    """Yield ``ROLE@HOST:PORT/DATABASE`` of a server that trusts everybody on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "This needs PostgreSQL: apt-get install postgresql (make does so where it may)."
    binaries = found[-1]
    with Processes("postgres") as processes:
        user = _user(processes.home)
        data, port = processes.home / "data", free_port()
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        init: list[str | Path] = [*user, binaries / "initdb", "-A", "trust", "-U", ROLE, "-D", data]
        processes.once("initdb", init, environment, processes.home)
        serve: list[str | Path] = [
            *user,
            binaries / "postgres",
            *("-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", processes.home),
            *("-c", "fsync=off"),  # nothing outlives this process
        ]
        processes.start("postgres", serve, environment, processes.home)
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]

        def answers() -> bool:
            processes.all_alive()
            return subprocess.run(ready, check=False, timeout=10).returncode == 0

        until("PostgreSQL answers", answers)
        yield f"{ROLE}@127.0.0.1:{port}/postgres"


def tables_of_postgres(address: str) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Read every table of a PostgreSQL database."""
    import psycopg2  # noqa: PLC0415  # only the newest Airflow's environment has it

    with closing(psycopg2.connect(f"postgresql://{address}")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608  # its own names
            yield name, cursor.fetchall()


def run_in_postgres(address: str, statement: str, *values: Any) -> int:
    """Run a statement in a PostgreSQL database; return how many rows it has changed."""
    import psycopg2  # noqa: PLC0415  # as above

    with closing(psycopg2.connect(f"postgresql://{address}")) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(statement, values)
        changed: int = cursor.rowcount
        return changed


def _user(home: Path) -> list[str | Path]:
    """Return what to begin a command with: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    other = pwd.getpwnam("postgres")
    os.chown(home, other.pw_uid, other.pw_gid)
    ids = ["--reuid", str(other.pw_uid), "--regid", str(other.pw_gid)]
    return ["setpriv", *ids, "--clear-groups"]
