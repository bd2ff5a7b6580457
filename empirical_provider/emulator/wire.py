"""What lies between the socket and the endpoints: the record of requests, and the faults."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .bodies import parse
from .connections import Connections
from .effects import until_gone, wreck
from .errors import FieldError
from .faults import Fault, FaultBook
from .journal import Journal, RecordedRequest

__all__ = ["CONTROL_PREFIX", "Wire"]

CONTROL_PREFIX = "/_emulator"


class Wire:
    """ASGI middleware that records each request and lets faults hit the API's endpoints.

    The control plane passes untouched: it must work while everything else fails.

    Args:
        app: What answers.
        routes: The API's routes; their names are the names of the endpoints.
        faults: What shall go wrong.
        journal: Where requests are recorded.
        connections: Where connections can be cut.
        now: Tells the time that requests are recorded with.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[Route],
        faults: FaultBook,
        journal: Journal,
        connections: Connections,
        now: Callable[[], float],
    ) -> None:
        self._app = app
        self._routes = routes
        self._faults = faults
        self._journal = journal
        self._connections = connections
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or f"{scope['path']}/".startswith(f"{CONTROL_PREFIX}/"):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        endpoint = self._endpoint(scope)
        self._journal.add(_recorded(scope, body, endpoint, self._now()))
        fault = None if endpoint is None else self._faults.take(endpoint)
        again = _replay(body, receive)
        if fault is None:
            await self._app(scope, again, send)
        else:
            await self._spoil(fault, scope, receive, again, send)

    async def _spoil(
        self, fault: Fault, scope: Scope, receive: Receive, again: Receive, send: Send
    ) -> None:
        held: list[Message] = []
        if fault.when == "after":
            await self._app(scope, again, _hold(held))
        if fault.delay and await _left_within(fault.delay, receive):
            return
        if fault.effect != "delay":
            await wreck(fault, scope, receive, send, self._connections)
        elif fault.when == "before":
            await self._app(scope, again, send)
        for message in held if fault.effect == "delay" else ():
            await send(message)

    def _endpoint(self, scope: Scope) -> str | None:
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return route.name
        return None


async def _read(receive: Receive) -> bytes | None:
    """Read the whole body, or None when the client left meanwhile."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Make a receive that gives the body once more, and then what really comes."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again


def _hold(held: list[Message]) -> Send:
    """Make a send that keeps the answer back."""

    async def hold(message: Message) -> None:
        held.append(message)

    return hold


async def _left_within(seconds: float, receive: Receive) -> bool:
    """Let time pass; tell whether the client has left before it was over."""
    try:
        async with asyncio.timeout(seconds):
            await until_gone(receive)
    except TimeoutError:
        return False
    return True


def _recorded(scope: Scope, raw: bytes, endpoint: str | None, at: float) -> RecordedRequest:
    headers = dict(Headers(scope=scope))
    if "authorization" in headers:
        headers["authorization"] = "***"
    body: Any = None
    if raw:
        try:
            body = parse(raw)
        except FieldError:
            body = raw.decode(errors="replace")
    query = dict(QueryParams(scope["query_string"]))
    return RecordedRequest(scope["method"], scope["path"], query, headers, body, endpoint, at)
