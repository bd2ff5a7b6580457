"""What starting a run costs on top of the request itself: run by `bench.py`.

`python triggering.py REQUESTS BATCHES PORT` prints the seconds of wall and CPU time of each batch
as JSON. Our client and a bare httpx client send the same body, one batch each in turn, each over
its one connection that is kept alive. Both read the answer's JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from empirical_provider import EmpiricalClient, TestRunRequest

REQUEST = TestRunRequest(
    environment="staging",
    build={"commit": "4f0c2d1", "branch": "main"},
    metadata={"release": "2026.11.25"},
)


def batch(send: Callable[[], Any], requests: int) -> tuple[float, float]:
    """Return the wall and CPU time of so many requests."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(requests):
        send()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    requests, batches, port = (int(each) for each in sys.argv[1:])
    url = f"https://localhost:{port}"
    figures: dict[str, list[tuple[float, float]]] = {"ours": [], "httpx": []}
    with EmpiricalClient(api_key="a-key", base_url=url) as client, httpx.Client() as bare:
        bare.headers["Authorization"] = "Bearer a-key"
        body = REQUEST.body()
        subjects: dict[str, Callable[[], Any]] = {
            "ours": lambda: client.trigger(REQUEST),
            "httpx": lambda: bare.put(f"{url}/api/test-runs", json=body).raise_for_status().json(),
        }
        for send in subjects.values():
            batch(send, 10)  # connects, and loads what is loaded on first use
        for _ in range(batches):
            for name, send in subjects.items():
                figures[name].append(batch(send, requests))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
