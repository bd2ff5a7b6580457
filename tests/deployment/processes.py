"""Processes of an orchestrator on this machine: started, killed, restarted, and in the end gone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import randrange
from types import TracebackType
from typing import Self, TypeVar

import psutil
import pytest

T = TypeVar("T")

MARK = "EMPIRICAL_TESTS_HOME"
"""The environment variable by which a process is known to belong to a home."""

_PORTS = iter(range(randrange(10_000, 30_000), 32_768))  # noqa: S311  # no secret
"""Tests of another host, which run at the same time, most likely begin elsewhere."""

_SHOWN = 3_000
"""Bytes of each process's output that a failure shows."""

LIMIT = 300.0
"""Seconds after which a condition counts as never met. No condition of a test takes nearly as long,
also at a load of 10: only what hangs reaches it."""

START_LIMITS = (150.0, 70.0)
"""Seconds in which everything must be up at the first start, and at the second and last one."""

_living: list[Processes] = []


def until(what: str, look: Callable[[], T], limit: float = LIMIT) -> T:
    """Check a condition until it holds, and return what it returned.

    Raises:
        AssertionError: It did not hold within the limit; with the last output of all processes.
    """
    end = time.monotonic() + limit
    while not (seen := look()):
        if time.monotonic() >= end:
            outputs = "\n".join(each.output() for each in _living)
            raise AssertionError(f"not within {limit:.0f} s: {what}\n{outputs}")
        time.sleep(0.2)
    return seen


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on, another one each time.

    It is below those that the system takes for connections to others: one of them could get it
    before whom it is for.
    """
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class ProcessFailedError(Exception):
    """A process that runs to its end did not end well."""


class Processes:
    """A temporary home, and the processes that live in it; as a context manager, all end with it.

    Each process and all that it starts carry the home in their environment: so those are found,
    too, whose parent was killed.

    Args:
        name: What the home's folder begins with.
    """

    def __init__(self, name: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, Callable[[], subprocess.Popen[bytes]]] = {}

        _living.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def bring_up(self, what: str, start: Callable[[], object], is_up: Callable[[], object]) -> None:
        """Start processes and wait until they are up; once more if they are not in time.

        Without them no test of the session can pass: so if they never come up, this ends the
        session, with one error that shows what each process wrote last.

        Args:
            what: What is started, for the message.
            start: Starts the processes, by `start` and `once`.
            is_up: Returns whether all of them are up.
        """
        for limit in START_LIMITS:
            began = time.monotonic()
            try:
                start()
                while time.monotonic() - began < limit and not self._ended():
                    if is_up():
                        return
                    time.sleep(0.2)
            except ProcessFailedError as error:
                ended = str(error)
            else:
                ended = f"{', '.join(self._ended())} ended" if self._ended() else "it was too slow"
            took = time.monotonic() - began
            output = self.output()
            self._stop(grace=5.0)
            self._running.clear()
        pytest.exit(
            f"{what} did not come up in two starts; the second one failed after {took:.0f} s:"
            f" {ended}. What its processes wrote last:\n{output}",
            returncode=1,
        )

    def start(
        self, name: str, command: list[str | Path], environment: Mapping[str, str], cwd: Path
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it writes goes to ``NAME.out`` in the home."""

        def run() -> subprocess.Popen[bytes]:
            with (self.home / f"{name}.out").open("ab") as out:
                return subprocess.Popen(
                    command,
                    env={**environment, MARK: str(self.home)},
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

        self._started[name] = run
        self._running[name] = run()
        return self._running[name]

    def once(
        self, name: str, command: list[str | Path], environment: Mapping[str, str], cwd: Path
    ) -> None:
        """Run a process to its good end.

        Raises:
            ProcessFailedError: It failed, or did not end in time.
        """
        process = self.start(name, command, environment, cwd)
        try:
            status = process.wait(START_LIMITS[0])
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"{name} did not end") from None
        del self._running[name]
        if status != 0:
            raise ProcessFailedError(f"{name} ended with status {status}")

    def again(self, name: str) -> None:
        """Start a process that has ended, as it was started before."""
        assert self._running[name].poll() is not None, f"{name} is still running"
        self._running[name] = self._started[name]()

    def kill(self, name: str, how: signal.Signals, *, insist_after: float | None = None) -> None:
        """Send a signal to a process alone, and wait for its end.

        Args:
            name: The process.
            how: The signal.
            insist_after: Seconds after which it is killed with all that it has started, as a
                supervisor does; default: never, which is a failure.
        """
        limit = LIMIT if insist_after is None else insist_after
        started = psutil.Process(self._running[name].pid).children(recursive=True)
        self._running[name].send_signal(how)
        try:
            self._running[name].wait(limit)
        except subprocess.TimeoutExpired:
            if insist_after is not None:
                for each in (self._running[name], *started):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                self._running[name].wait(LIMIT)
                return
            late = f"{name} did not end within {limit:.0f} s of {how.name}"
            raise AssertionError(f"{late}:\n{self.output()}") from None

    def all_alive(self) -> None:
        """Fail with the output of all if one has ended."""
        ended = self._ended()
        assert not ended, f"{', '.join(ended)} ended:\n{self.output()}"

    def _ended(self) -> list[str]:
        return [name for name, each in self._running.items() if each.poll() is not None]

    def output(self) -> str:
        """Return what the processes have written last, for a failure's message."""
        return "\n".join(
            f"--- {path.name}\n{path.read_bytes()[-_SHOWN:].decode(errors='replace')}"
            for path in sorted(self.home.glob("*.out"))
        )

    def end(self) -> None:
        """End the processes with all that they have started, and remove the home."""
        self._stop(grace=8.0)
        _living.remove(self)
        shutil.rmtree(self.home, ignore_errors=True)

    def _stop(self, grace: float) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + grace
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        while left := [*_of_home(self.home)]:
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, timeout=2)
        for process in self._running.values():
            process.wait()


def _of_home(home: Path) -> Iterator[psutil.Process]:
    """Find the living processes that carry a home in their environment, but for this one."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == str(home):
                yield process
