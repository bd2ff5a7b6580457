"""Airflow's database with its tables made, as a file to copy: making them takes seconds."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

_TEMPLATE = Path(sys.prefix) / f"airflow-{version('apache-airflow')}.db"
"""Goes with the environment, and another version has another one."""


def copy_migrated(to: Path) -> None:
    """Write an empty SQLite database of this Airflow, as `airflow db migrate` makes it."""
    with _TEMPLATE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be making it right now
        if not _TEMPLATE.exists():
            _migrate()
    shutil.copyfile(_TEMPLATE, to)


def _migrate() -> None:
    with tempfile.TemporaryDirectory(prefix="airflow-migrate-") as home:
        file = Path(home) / "airflow.db"
        done = subprocess.run(
            [Path(sys.executable).with_name("airflow"), "db", "migrate"],
            env={
                **os.environ,
                "AIRFLOW_HOME": home,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{file}",
            },
            cwd=home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        unfinished = _TEMPLATE.with_suffix(".new")
        shutil.copyfile(file, unfinished)
        unfinished.replace(_TEMPLATE)  # whole or not at all
