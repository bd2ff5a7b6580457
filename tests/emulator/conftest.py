"""One local Empirical for the folder, cleaned for each test, and a client with a key."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator

KEY = "made-up-key"
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: reading certificates takes long
TERMINAL = ("ended", "error", "cancelled")


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Api:
    """The few calls that most tests make."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def trigger(self, environment: str = "staging", **body: Any) -> int:
        answer = self.http.put("/api/test-runs", json={"environment": environment, **body})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["data"]["test_run"]["id"])

    def detail(self, run_id: int) -> dict[str, Any]:
        answer = self.http.get(f"/api/test-runs/{run_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["data"]["test_run"]
        return found

    def state(self, run_id: int) -> str:
        return str(self.detail(run_id)["testRun"]["state"])

    def finish(self, run_id: int) -> dict[str, Any]:
        """Read until the run has come to rest."""
        for _ in range(9):
            found = self.detail(run_id)
            if found["testRun"]["state"] in TERMINAL:
                return found
        raise AssertionError(found)

    def listed(self, **query: Any) -> list[int]:
        answer = self.http.get("/api/test-runs", params=query)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]["test_runs"]["items"]]


@pytest.fixture(scope="session")
def _shared() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def empirical(_shared: Emulator) -> Emulator:
    _shared.reset()
    return _shared


@pytest.fixture
def api_for() -> Iterator[Callable[[Emulator], Api]]:
    """Make clients that are closed after the test."""
    clients: list[httpx.Client] = []

    def make(emulator: Emulator) -> Api:
        headers = {"authorization": f"Bearer {KEY}"}
        clients.append(
            httpx.Client(base_url=emulator.url, headers=headers, trust_env=False, verify=_NO_TLS)
        )
        return Api(clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def api(empirical: Emulator, api_for: Callable[[Emulator], Api]) -> Api:
    return api_for(empirical)


@pytest.fixture
def http(api: Api) -> httpx.Client:
    return api.http


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(clock: Clock) -> Iterator[Emulator]:
    """A local Empirical whose runs move with the clock of the test."""
    with Emulator(advance="time", state_seconds=2, clock=clock) as emulator:
        yield emulator
