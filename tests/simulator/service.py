"""The service at the other end of the network: its endpoints, its faults, and a record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.simulator.machine import ACTOR, EPOCH, Killed, Machine
from tests.simulator.world import LIVE, TERMINAL, Dialect, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Fault", "Served", "Service", "Start"]

_DAY = 86_400.0

_NONSENSE = {
    "{}": "{}",
    "html": "<html>Please sign in</html>",
    "cut": '{"data": {"test_run": {"id": 1, "sta',
}


@dataclass
class Fault:
    """What goes wrong with requests of one kind, from when to when.

    ``kind`` is a status, or one of: refused (no connection), dropped, hangs, slow, ``{}``, html,
    cut, other run.
    """

    endpoint: str
    since: float
    until: float
    kind: str
    run_id: int | None = None
    retry_after: str | None = None
    left: int | None = None
    """How many requests it still concerns; None: all."""

    def concerns(self, endpoint: str, run_id: int | None, at: float) -> bool:
        here = self.endpoint == endpoint and self.run_id in (None, run_id)
        return here and self.left != 0 and self.since <= at < self.until


@dataclass
class Served:
    """A request, and what came of it."""

    at: float
    ended: float
    actor: str
    endpoint: str
    run_id: int | None
    what: str
    """``ok``, or the kind of the fault."""
    told: str = ""


@dataclass
class Start:
    """A run that the service has started for an attempt of ours."""

    at: float
    run: Run
    by: str
    beside: list[int]
    """Runs for the same that had or might get a verdict at that moment."""


@dataclass
class Sends:
    """What the service needs to know of an attempt that may send requests to start a run."""

    wish: str
    puts: list[str]
    """How the requests to start a run end, one after the other; when none is left: ok."""
    life: Callable[[float], Run]
    """Makes the run that is started."""
    kill: str = ""
    """``before`` or ``after`` the service has acted on the first request."""
    zombie: float = 0.0
    """Seconds by which a request that timed out arrives even later."""
    replay: int | None = None
    """The run that a replayed response names."""
    copies: list[Callable[[Run], Run]] = field(default_factory=list)
    """Make runs with what the run shows, as a person or another system may do."""


class Service:
    """The service.

    Args:
        machine: Its clock.
        dialect: What it shows.
        first_id: Id of the first run.
    """

    def __init__(self, machine: Machine, dialect: Dialect, first_id: int) -> None:
        self.machine = machine
        self.dialect = dialect
        self.next_id = first_id
        self.runs: dict[int, Run] = {}
        self.faults: list[Fault] = []
        self.sends: dict[str, Sends] = {}
        self.served: list[Served] = []
        self.starts: list[Start] = []
        self.cancels: list[tuple[float, str, int, list[int]]] = []
        """When who has cancelled which run, and which others of the same wish held then."""
        self._later: list[tuple[float, Callable[[], object]]] = []

    def add(self, run: Run) -> Run:
        self.runs[run.id] = run
        return run

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def later(self, at: float, do: Callable[[], object]) -> None:
        """Have something happen at a moment."""
        self._later.append((at, do))

    def catch_up(self) -> None:
        """Have everything happen that is due."""
        for at, do in sorted(self._later, key=lambda each: each[0]):
            if at <= self.machine.now:
                self._later.remove((at, do))
                do()

    # A request, from the client and back

    def exchange(self, request: httpx.Request) -> Generator[float, None, httpx.Response]:
        """Play a request: yields the seconds that pass, and returns the response."""
        machine = self.machine
        endpoint, run_id = _route(request)
        record = Served(machine.now, machine.now, ACTOR.get(), endpoint, run_id, "sent")
        self.served.append(record)
        timeouts = request.extensions["timeout"]
        try:
            self.catch_up()
            if endpoint == "start":
                response = yield from self._start(request, record, timeouts)
            else:
                response = yield from self._ask(request, endpoint, run_id, record, timeouts)
        finally:
            record.ended = machine.now
        return response

    def _ask(
        self,
        request: httpx.Request,
        endpoint: str,
        run_id: int | None,
        record: Served,
        timeouts: dict[str, float],
    ) -> Generator[float, None, httpx.Response]:
        fault = next(
            (f for f in self.faults if f.concerns(endpoint, run_id, self.machine.now)), None
        )
        yield 0.04
        if fault is not None:
            if fault.left is not None:
                fault.left -= 1
            record.what = fault.kind
            early = yield from self._fault(fault, run_id, timeouts)
            if early is not None:
                return early
        else:
            record.what = "ok"
        yield 0.03
        self.catch_up()
        if endpoint == "page":
            return self._page(run_id or 0, record)
        if endpoint == "list":
            return self._list(request, record)
        if endpoint == "cancel":
            return self._cancel(run_id or 0, record)
        if endpoint == "project":
            return self.response(200, {"data": {"id": 5, "slug": self.dialect.slug}})
        return self.response(404, {"error": {"message": "Not found"}})

    def _fault(
        self, fault: Fault, run_id: int | None, timeouts: dict[str, float]
    ) -> Generator[float, None, httpx.Response | None]:
        kind = fault.kind
        if kind == "refused":
            raise httpx.ConnectError("Connection refused")
        if kind == "dropped":
            raise httpx.ReadError("Connection reset by peer")
        if kind == "hangs":
            yield timeouts["read"] - 0.04
            raise httpx.ReadTimeout("timed out")
        if kind == "slow":
            yield 0.6 * timeouts["read"]
            return None
        if kind in _NONSENSE:
            return self.response(200, _NONSENSE[kind])
        if kind == "other run":
            other = next((run for key, run in self.runs.items() if key != run_id), None)
            if other is None:
                return self.response(200, {})
            return self.response(200, other.page(self.dialect, self.machine.now))
        headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
        if kind == "302":
            headers["location"] = "https://login.example.com/"
        return self.response(int(kind), {"error": {"message": f"It is {kind}"}}, headers)

    def response(
        self, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        headers = dict(headers or {})
        if self.dialect.date:
            now = EPOCH + self.machine.now + self.dialect.server_ahead
            headers["date"] = formatdate(int(now), usegmt=True)
        text = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(text.encode()))

    # What can be asked

    def _page(self, run_id: int, record: Served) -> httpx.Response:
        run, now = self.runs.get(run_id), self.machine.now
        if run is None or not run.readable or now < run.created + self.dialect.page_appears:
            record.what, record.told = "404", "no page yet"
            return self.response(404, {"error": {"message": "Test run not found"}})
        seen = now - self.dialect.page_lag
        record.told = f"{run.state(seen)}{' (contradicts itself)' if run.lies(seen) else ''}"
        if run.lies(seen):
            record.what = "lie"
        return self.response(200, run.page(self.dialect, now))

    def _list(self, request: httpx.Request, record: Served) -> httpx.Response:
        dialect, now = self.dialect, self.machine.now
        query = {key: value[0] for key, value in parse_qs(urlsplit(str(request.url)).query).items()}
        listed = [run for run in self.runs.values() if run.created + dialect.list_lag <= now]
        if dialect.id_filter and "id" in query:
            listed = [run for run in listed if run.id == int(query["id"])]
        if dialect.filters and "state" in query:
            listed = [run for run in listed if run.state(now - dialect.list_lag) == query["state"]]
        if dialect.filters and "interval_in_days" in query:
            since = now - int(query["interval_in_days"]) * _DAY
            listed = [run for run in listed if run.created >= since]
        order: Callable[[Run], Any] = {
            "newest": lambda run: -run.id,
            "oldest": lambda run: run.id,
            "mixed": lambda run: run.id * 7919 % 104_729,
        }[dialect.order]
        listed.sort(key=order)
        size = min(int(query.get("per_page", 20)), 100)
        if dialect.pagination:
            size = min(size, dialect.per_page)
        page = int(query.get("page", 1))
        shown = listed[(page - 1) * size : page * size]
        record.told = f"page {page}: {', '.join(str(run.id) for run in shown) or 'empty'}"
        body: dict[str, Any] = {
            "data": {
                "project": {"id": 5, "slug": dialect.slug},
                "test_runs": {"items": [run.item(dialect, now) for run in shown]},
            }
        }
        if dialect.pagination:
            pages = max(1, -(-len(listed) // size))
            body["pagination"] = {
                "page": page,
                "per_page": size,
                "total": len(listed),
                "total_pages": pages,
            }
        return self.response(200, body)

    def _cancel(self, run_id: int, record: Served) -> httpx.Response:
        run, now = self.runs.get(run_id), self.machine.now
        if run is None:
            record.what = "404"
            return self.response(404, {"error": {"message": "Test run not found"}})
        if run.state(now) in TERMINAL:
            record.what = "412"
            return self.response(412, {"error": {"message": "Already finished"}})
        if run.cancelled_at is None:
            run.cancelled_at = now
            self.cancels.append((now, record.actor, run_id, self._beside(run, now)))
        return self.response(200, {"message": "Test run cancelled successfully"})

    def _beside(self, run: Run, at: float) -> list[int]:
        if run.wish is None:
            return []
        return [
            each.id
            for each in self.runs.values()
            if each.wish == run.wish and each.id != run.id and each.holds(at)
        ]

    # Starting a run

    def _start(
        self, request: httpx.Request, record: Served, timeouts: dict[str, float]
    ) -> Generator[float, None, httpx.Response]:
        sends = self.sends[record.actor]
        kind = record.what = sends.puts.pop(0) if sends.puts else "ok"
        body = json.loads(request.content)
        yield 0.05
        if sends.kill == "before":
            sends.kill = ""
            raise Killed
        if kind == "refused":
            raise httpx.ConnectError("Connection refused")
        if kind == "429":
            refusal = {"error": {"message": "Too many requests"}}
            return self.response(429, refusal, {"retry-after": "2"})
        if kind == "lost before":
            raise httpx.WriteError("Broken pipe")
        if kind == "zombie":
            due = self.machine.now + timeouts["read"] + sends.zombie
            self.later(due, lambda: self._act(sends, body, record))
        yield 0.2
        if kind == "zombie":
            yield timeouts["read"]
            raise httpx.ReadTimeout("timed out")
        if kind in ("500", "503", "replay"):
            return self._unacted(kind, sends)
        run = self._act(sends, body, record)
        if sends.kill == "after":
            sends.kill = ""
            raise Killed
        return (yield from self._respond(kind, run, sends, timeouts))

    def _unacted(self, kind: str, sends: Sends) -> httpx.Response:
        if kind == "replay":
            return self._replayed(sends)
        return self.response(int(kind), {"error": {"message": "Try later"}})

    def _respond(
        self, kind: str, run: Run, sends: Sends, timeouts: dict[str, float]
    ) -> Generator[float, None, httpx.Response]:
        if kind == "lost":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response")
        if kind == "times out":
            yield timeouts["read"]
            raise httpx.ReadTimeout("timed out")
        if kind in ("500 acted", "503 acted"):
            return self.response(int(kind[:3]), {"error": {"message": "Upstream failed"}})
        if kind == "{} acted":
            return self.response(200, {})
        if kind == "replay acted":
            return self._replayed(sends)
        yield 0.05
        if kind.startswith("rejected "):
            run.life = [(self.machine.now, "error")]
            body = run.started(self.dialect, self.machine.now)
            status = int(kind.removeprefix("rejected "))
            if status >= 300:
                body["error"] = {"message": "Merge conflict"}
            return self.response(status, body)
        return self.response(200, run.started(self.dialect, self.machine.now))

    def _replayed(self, sends: Sends) -> httpx.Response:
        other = self.runs[sends.replay or 0]
        return self.response(200, other.started(self.dialect, self.machine.now))

    def _act(self, sends: Sends, body: dict[str, Any], record: Served) -> Run:
        """Start the run that is asked for."""
        now = self.machine.now
        run = sends.life(now)
        run.environment = body["environment"]
        run.metadata = body.get("metadata") or {}
        run.overrides = body.get("environment_variables_overrides") or []
        run.wish, run.by = sends.wish, record.actor
        record.told = f"starts {run.id}"
        self.add(run)
        self.starts.append(Start(now, run, record.actor, self._beside(run, now)))
        for copy in sends.copies:
            self.add(copy(run))
        return run

    def live(self, wish: str, at: float) -> list[Run]:
        return [run for run in self.runs.values() if run.wish == wish and run.state(at) in LIVE]


def _route(request: httpx.Request) -> tuple[str, int | None]:
    path = request.url.path
    page = re.fullmatch(r"/api/test-runs/(\d+)(/cancel)?", path)
    if page is not None:
        cancels = page[2] is not None
        return ("cancel" if cancels else "page"), int(page[1])
    if path == "/api/test-runs":
        return ("start" if request.method == "PUT" else "list"), None
    if path.startswith("/api/projects/"):
        return "project", None
    return "other", None
