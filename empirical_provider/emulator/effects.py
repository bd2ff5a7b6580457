"""How each fault looks on the wire."""

import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

from .connections import Connections
from .faults import Fault

__all__ = ["HUGE_BYTES", "until_gone", "wreck"]

HUGE_BYTES = 50 * 1024 * 1024
_CHUNK = b" " * 65_536
_BODILESS = (204, 205, 304)
_PROXY_PAGE = b"""<!DOCTYPE html>
<html><head><title>Please sign in</title></head>
<body><h1>Please sign in</h1><p>Your network needs you to sign in first.</p></body></html>
"""
_CUT_JSON = b'{"data": {"test_run": {"id": 4'
_JSON = "application/json"
_Effect = Callable[[Fault, Send], Awaitable[None]]


async def until_gone(receive: Receive) -> None:
    """Wait until the client's connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def wreck(
    fault: Fault, scope: Scope, receive: Receive, send: Send, connections: Connections
) -> None:
    """Answer, or fail to, as the fault says."""
    if fault.effect in _EFFECTS:
        await _EFFECTS[fault.effect](fault, send)
        return
    transport = connections.transport(tuple(scope["client"]))
    if transport is None:  # the client has cut the connection itself
        return
    if fault.effect == "drop":
        transport.abort()
    else:
        await _start(send, 200, {"content-type": _JSON, "content-length": "1000"})
        await send({"type": "http.response.body", "body": _CUT_JSON, "more_body": True})
        if fault.effect == "reset":
            # Closed with nothing to linger for, TCP says reset instead of end.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    # uvicorn would answer 500 for us if this returned before it noticed the end.
    await until_gone(receive)


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _whole(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    await _start(send, status, {**headers, "content-length": str(len(body))})
    await send({"type": "http.response.body", "body": body})


async def _status(fault: Fault, send: Send) -> None:
    status = fault.status or 500
    retry = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
    if status in _BODILESS:
        await _start(send, status, retry)
        await send({"type": "http.response.body", "body": b""})
        return
    message = fault.message or f"A fault answers {status} here"
    body = json.dumps({"error": {"message": message}}).encode()
    await _whole(send, status, {"content-type": _JSON, **retry}, body)


async def _malformed(_: Fault, send: Send) -> None:
    await _whole(send, 200, {"content-type": _JSON}, _CUT_JSON)


async def _html(_: Fault, send: Send) -> None:
    await _whole(send, 200, {"content-type": "text/html; charset=utf-8"}, _PROXY_PAGE)


async def _redirect(fault: Fault, send: Send) -> None:
    await _whole(send, 302, {"location": fault.message or "/"}, b"")


async def _huge(_: Fault, send: Send) -> None:
    """Send JSON with more white space than anybody should read; no length is announced."""
    await _start(send, 200, {"content-type": _JSON})
    await send({"type": "http.response.body", "body": b'{"data":', "more_body": True})
    for _chunk in range(HUGE_BYTES // len(_CHUNK)):
        await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"{}}"})


_EFFECTS: Mapping[str, _Effect] = {
    "status": _status,
    "malformed": _malformed,
    "html": _html,
    "redirect": _redirect,
    "huge": _huge,
}
