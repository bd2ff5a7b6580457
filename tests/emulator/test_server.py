"""The emulator comes and goes cleanly, in a process and as one."""

import contextlib
import gc
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator

DESCRIPTORS = Path("/proc/self/fd")
MODULE = "empirical_provider.emulator"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", MODULE, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _count_sockets() -> int:
    gc.collect()
    found = 0
    for entry in DESCRIPTORS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor that lists the folder
            found += str(entry.readlink()).startswith("socket:")
    return found


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts sockets the Linux way")
def test_nothing_is_left_behind(api_for: Callable[[Emulator], Any]) -> None:
    """After the end there is no thread, no socket and nobody who listens."""
    threads, sockets = set(threading.enumerate()), _count_sockets()
    with Emulator() as emulator:
        url = emulator.url
        http = api_for(emulator).http
        http.get("/api/test-runs")
        emulator.fault("*", "drop")
        with pytest.raises(httpx.TransportError):
            http.get("/api/test-runs")
        http.get("/api/test-runs")
    http.close()
    assert set(threading.enumerate()) == threads
    assert _count_sockets() <= sockets  # those of earlier tests may end meanwhile
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as client:
        client.get(url)


def test_several_live_side_by_side(api_for: Callable[[Emulator], Any]) -> None:
    """Emulators in one process share nothing."""
    with Emulator(project_slug="one") as one, Emulator(project_slug="two") as two:
        assert one.url != two.url
        two.fault("*", "status", status=500, times=None)
        api_for(one).trigger()
        assert api_for(two).http.get("/api/test-runs").status_code == 500
        assert (len(one.runs), len(two.runs)) == (1, 0)
        assert (one.connections, two.connections) == (1, 1)


def test_it_can_be_started_again(api_for: Callable[[Emulator], Any]) -> None:
    """A stopped emulator starts again and still knows its runs."""
    emulator = Emulator()
    emulator.start()
    with pytest.raises(RuntimeError, match="running already"):
        emulator.start()
    api_for(emulator).trigger()
    emulator.stop()
    emulator.stop()
    with pytest.raises(RuntimeError, match="not running"):
        assert emulator.url
    with emulator:
        assert api_for(emulator).listed() == [1]


def test_a_taken_port_is_refused_clearly() -> None:
    """Two emulators cannot have one port, and the error says which."""
    with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            Emulator(port=port).start()


def test_it_listens_on_the_loopback_address_only() -> None:
    """Other addresses of this machine, even other loopback ones, are not served."""
    with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match=r".*"):
            socket.create_connection(("127.0.0.2", port), timeout=2).close()


def test_signals_stay_with_the_process() -> None:
    """An emulator in a test leaves the signal handlers of the test alone."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Emulator():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_it_can_be_used_from_many_threads(
    empirical: Emulator, api_for: Callable[[Emulator], Any]
) -> None:
    """Requests and methods at the same time lose no run."""
    apis = [api_for(empirical) for _ in range(4)]

    def work(api: Any) -> None:
        for _ in range(10):
            api.trigger()
            empirical.script("staging", "failed")
            assert empirical.runs

    threads = [threading.Thread(target=work, args=(api,)) for api in apis]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.id for run in empirical.runs) == list(range(1, 41))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(number: signal.Signals) -> None:
    """The command prints its address, serves as it was told, and ends cleanly."""
    arguments = ["--port", "0", "--environment", "qa=failed", "--environment", "dev"]
    arguments += ["--api-key", "k1", "--project-slug", "shop", "--advance", "reads"]
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=url, trust_env=False) as client:
            summary = client.get("/_emulator/").json()
            assert client.get("/api/test-runs").status_code == 401
            key = {"authorization": "Bearer k1"}
            assert client.get("/api/test-runs", headers=key).status_code == 200
        assert summary["environments"] == ["qa", "dev"]
        assert summary["project"]["slug"] == "shop"
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_the_command_sets_every_switch() -> None:
    """Each option for a switch arrives; the others stay as they are."""
    given = "--echo-in-list commit,metadata --list-lag 1.5 --list-lag-reads 2 --clock-skew -30"
    given += " --concurrency-limit project --concurrency-behavior queue_new --echo-in-detail= "
    given += "--disabled-environments production --detail-shape bare"
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, "--port", "0", *given.split()],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        with httpx.Client(base_url=process.stdout.readline().split()[-1], trust_env=False) as http:
            assert http.get("/_emulator/").json()["behaviour"] == {
                "echo_in_list": ["commit", "metadata"],
                "echo_in_detail": [],
                "list_lag": 1.5,
                "list_lag_reads": 2,
                "clock_skew": -30,
                "concurrency_limit": "project",
                "concurrency_behavior": "queue_new",
                "detail_shape": "bare",
                "disabled_environments": ["production"],
            }
        process.terminate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "--port"),
        (["--port", "65536"], "port"),
        (["--advance", "never"], "--advance"),
        (["--environment", "qa=won"], "environments.qa"),
        (["--environment", "Q A"], "environments"),
        (["--api-key", ""], "api_keys"),
        (["--state-seconds", "-1"], "state_seconds"),
        (["--echo-in-list", "metadat"], "echo_in_list"),
        (["--echo-in-detail", "commit,metadat"], "echo_in_detail"),
        (["--list-lag", "x"], "--list-lag"),
        (["--list-lag-reads", "-1"], "list_lag_reads"),
        (["--clock-skew", "99999"], "clock_skew"),
        (["--concurrency-limit", "branch"], "--concurrency-limit"),
        (["--detail-shape", "round"], "--detail-shape"),
    ],
)
def test_the_command_refuses_wrong_options(arguments: list[str], message: str) -> None:
    """A wrong option ends the command with 2 and its name."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_refuses_a_taken_port() -> None:
    """A taken port ends the command with 2 and says which."""
    with Emulator() as emulator:
        port = emulator.url.rpartition(":")[2]
        done = _run("--port", port)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
