"""Processes of a host on this machine: started, killed, started again, and in the end all gone."""

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

T = TypeVar("T")

MARK = "EMPIRICAL_TESTS_HOME"
"""The environment variable by which a process is known to belong to a home."""

_PORTS = iter(range(randrange(10_000, 30_000), 32_768))  # noqa: S311  # no secret
"""Tests of another host, which run at the same time, most likely begin elsewhere."""

_SHOWN = 3_000
"""Bytes of each process's output that a failure shows."""


def until(what: str, look: Callable[[], T], limit: float = 60.0) -> T:
    """Look until there is something to see; fail when that takes too long."""
    end = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

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
        """Run a process to its good end, within a minute."""
        process = self.start(name, command, environment, cwd)
        assert process.wait(60) == 0, self.output()
        del self._running[name]

    def again(self, name: str) -> None:
        """Start a process that has ended, as it was started before."""
        assert self._running[name].poll() is not None, f"{name} is still running"
        self._running[name] = self._started[name]()

    def kill(
        self, name: str, how: signal.Signals, limit: float = 30.0, *, insist: bool = False
    ) -> None:
        """Send a signal to a process alone, and wait for its end.

        Whoever insists kills it after the limit with all that it has started, as a supervisor does;
        else that is a failure.
        """
        started = psutil.Process(self._running[name].pid).children(recursive=True)
        self._running[name].send_signal(how)
        try:
            self._running[name].wait(limit)
        except subprocess.TimeoutExpired:
            if insist:
                for each in (self._running[name], *started):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                self._running[name].wait(limit)
                return
            late = f"{name} did not end within {limit:.0f} s of {how.name}"
            raise AssertionError(f"{late}:\n{self.output()}") from None

    def all_alive(self) -> None:
        """Fail with the output of all where one has ended."""
        ended = [name for name, each in self._running.items() if each.poll() is not None]
        assert not ended, f"{', '.join(ended)} ended:\n{self.output()}"

    def output(self) -> str:
        """Return what the processes have written last, for a failure's message."""
        return "\n".join(
            f"--- {path.name}\n{path.read_bytes()[-_SHOWN:].decode(errors='replace')}"
            for path in sorted(self.home.glob("*.out"))
        )

    def end(self, grace: float = 8.0) -> None:
        """End the processes with all that they have started, and take the home away."""
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
        shutil.rmtree(self.home, ignore_errors=True)


def _of_home(home: Path) -> Iterator[psutil.Process]:
    """Find the living processes that carry a home in their environment, but for this one."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == str(home):
                yield process
