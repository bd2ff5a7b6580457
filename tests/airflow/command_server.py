"""Runs Airflow's command line without starting Airflow for each command: a script, not a module.

It imports Airflow once. Each line that it reads is a command; it forks for each, and the child
runs Airflow's own entry point in the environment and the folder that the line names. So a command
costs what it does, and not the seconds of its imports.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import logging
import os
import random
import signal
import sys
import traceback
from typing import Any

from airflow.__main__ import main

NEEDED_BY_COMMANDS = (
    "airflow.api_fastapi.execution_api.app",
    "airflow.cli.commands.dag_command",
    "airflow.dag_processing.dagbag",
    "airflow.models.dagbag",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.serialized_objects",
    "airflow.triggers.base",
)
"""Modules that commands import late. Not each version has each of them."""


def run(command: dict[str, Any]) -> int:
    """Run a command in this process, which is its own; return its exit status."""
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["folder"])
    output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    # Airflow has read its folder of DAGs from another environment.
    settings = importlib.import_module("airflow.settings")
    settings.DAGS_FOLDER = os.environ.get("AIRFLOW__CORE__DAGS_FOLDER", settings.DAGS_FOLDER)
    sys.argv = ["airflow", *command["arguments"]]
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001  # as Python ends a script
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> None:
    """End this process as Python ends one, but for what belongs to the parent."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def prepare() -> None:
    """Load what commands need, as far as this version has it.

    Airflow 3 runs a task of `airflow dags test` against an API in the same process. Building that
    API takes longer than everything else that such a command does.
    """
    for module in NEEDED_BY_COMMANDS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(ImportError, AttributeError):
        supervisor = importlib.import_module("airflow.sdk.execution_time.supervisor")
        supervisor.in_process_api_server().app._cadwyn_initialize()


def serve() -> None:
    """Run the commands that come in, one after the other, until there are no more."""
    prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end this
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            status = 1
            with contextlib.suppress(BaseException):
                status = run(json.loads(line))
            end(status)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"ended with status {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
