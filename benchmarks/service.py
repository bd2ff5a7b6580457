"""The service that is measured against: both APIs over TLS, as light as it can be.

It runs in a process of its own, so that its work is not counted. What it answers for Empirical are
the local Empirical's own answers with other ids; for dbt Cloud the fields of a run that its API
documents. A run goes on until the moment that was set for it.

`python service.py CERTIFICATE` prints its port.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import uvicorn

from empirical_provider.emulator import Emulator
from empirical_provider.emulator.connections import Connections, protocol_for

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

KEEP_ALIVE = 75
"""Seconds for which an idle connection stays open: nginx's own default."""


class Shapes:
    """The local Empirical's answers for one run: while it goes on, and once it has ended."""

    def __init__(self) -> None:
        body = {"environment": "staging", "build": {"commit": "4f0c2d1"}}
        with Emulator(echo_in_list=[]) as empirical, httpx.Client(base_url=empirical.url) as http:
            http.headers["Authorization"] = "Bearer any"
            self.trigger = http.put("/api/test-runs", json=body).text
            run_id = empirical.runs[0].id
            self.items, self.details = {}, {}
            for state in ("started", "ended"):
                empirical.set_state(run_id, state)
                self.details[state] = http.get(f"/api/test-runs/{run_id}").json()
                empirical.set_state(run_id, state)
                self.page = http.get("/api/test-runs").json()
                (self.items[state],) = self.page["data"]["test_runs"]["items"]


class Service:
    """An ASGI application."""

    def __init__(self) -> None:
        self.connections = Connections()
        self._shapes = Shapes()
        self._written: dict[tuple[int, str], str] = {}
        self._reset()

    def _reset(self) -> None:
        self.connections.reset()
        self._ends: dict[int, float | None] = {}
        self._newest_first: list[int] = []
        self._asked: list[tuple[float, str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = b""
        while (part := await receive()).get("more_body") or part.get("body"):
            content += part["body"]
            if not part.get("more_body"):
                break
        answer = self._answer(scope["method"], scope["path"], scope["query_string"], content)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, method: str, path: str, query: bytes, content: bytes) -> bytes:
        *_, last = path.rstrip("/").split("/")
        if path.startswith("/bench/"):
            return json.dumps(getattr(self, f"_{last}")(content)).encode()
        page = int(parse_qs(query.decode()).get("page", ["1"])[0])
        self._asked.append((time.time(), "single" if last.isdigit() else "list", page))
        if method == "PUT":
            return self._shapes.trigger.encode()
        if path.startswith("/api/v2/"):
            return self._dbt(int(last)).encode()
        return (self._detail(int(last)) if last.isdigit() else self._page(page)).encode()

    # What the measured process sets and asks

    def _plan(self, content: bytes) -> None:
        """Take the runs there are: pairs of an id and the moment it ends, or null for never."""
        self._reset()
        self._ends = dict(json.loads(content))
        self._newest_first = sorted(self._ends, reverse=True)

    def _more(self, content: bytes) -> None:
        """Take other ends for some of the runs."""
        self._ends |= dict(json.loads(content))

    def _stats(self, _: bytes) -> dict[str, Any]:
        return {"connections": self.connections.accepted, "asked": self._asked}

    # The two APIs

    def _state(self, run_id: int) -> str:
        ends = self._ends[run_id]
        return "ended" if ends is not None and ends <= time.time() else "started"

    def _page(self, page: int) -> str:
        ids = self._newest_first[100 * (page - 1) : 100 * page]
        total = len(self._newest_first)
        shape = self._shapes.page
        paging = {"page": page, "per_page": 100, "total": total, "total_pages": -(-total // 100)}
        data = {**shape["data"], "test_runs": {"items": ["@"]}}
        items = ",".join(self._item(run_id, self._state(run_id)) for run_id in ids)
        return json.dumps({"data": data, "pagination": paging}).replace('"@"', items)

    def _item(self, run_id: int, state: str) -> str:
        found = self._written.get((run_id, state))
        if found is None:
            found = json.dumps({**self._shapes.items[state], "id": run_id})
            self._written[run_id, state] = found
        return found

    def _detail(self, run_id: int) -> str:
        shape = self._shapes.details[self._state(run_id)]
        parts = shape["data"]["test_run"]
        run = {**parts["testRun"], "id": run_id}
        return json.dumps({"data": {"test_run": {**parts, "testRun": run}}})

    def _dbt(self, run_id: int) -> str:
        ended = self._state(run_id) == "ended"
        run = {
            "id": run_id,
            "trigger_id": run_id,
            "account_id": 1,
            "project_id": 1,
            "environment_id": 1,
            "job_definition_id": 1,
            "status": 10 if ended else 3,
            "status_humanized": "Success" if ended else "Running",
            "status_message": None,
            "in_progress": not ended,
            "is_complete": ended,
            "is_success": ended,
            "is_error": False,
            "is_cancelled": False,
            "created_at": "2026-11-25T00:00:00.000000+00:00",
            "git_branch": "main",
            "git_sha": "4f0c2d1",
            "href": f"https://cloud.getdbt.com/deploy/1/projects/1/runs/{run_id}/",
        }
        return json.dumps({"status": {"code": 200, "is_success": True}, "data": run})


def main() -> None:
    service = Service()
    # The protocol is named because asyncio sends small answers at once only if it can see it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    config = uvicorn.Config(
        service,
        http=protocol_for(service.connections),
        ws="none",
        lifespan="off",
        log_level="error",
        ssl_certfile=sys.argv[1],
        timeout_keep_alive=KEEP_ALIVE,
    )
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
