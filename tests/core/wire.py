"""A server that keeps to no rule: it says what it is told to say, byte for byte."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RUN = {"id": 456, "state": "ended", "total_count": 5, "failed_count": 0}
"""As green as can be."""

GREEN = json.dumps({"data": {"trigger": {"success": True}, "test_run": RUN}}).encode()
GIVE_UP = 60.0
"""Seconds after which what has no end ends, so that a client that would wait for ever fails."""


class Hostile:
    """Plays one trick on every connection; `requests` holds what clients sent.

    `connections` counts theirs.
    """

    def __init__(
        self, play: Callable[[socket.socket], object], context: ssl.SSLContext | None = None
    ) -> None:
        self._play = play
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.connections = 0
        where = "http://127.0.0.1" if context is None else "https://localhost"
        self.url = f"{where}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(GIVE_UP)
            if self._context is None:
                self._talk(connection)
                return
            with self._context.wrap_socket(connection, server_side=True) as secure:
                self._talk(secure)

    def _talk(self, connection: socket.socket) -> None:
        """Play the trick; it is over once it returns something."""
        while request := self._read(connection):
            self.requests.append(request)
            if self._play(connection) is not None:
                return

    def _read(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65536)
            if not more:
                return b""
            request += more
        head, _, body = request.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line[15:]):
                    body += connection.recv(65536)
        return request


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "".join(f"{line}\r\n" for line in (status, *lines, "")).encode("latin-1")


def whole(body: bytes, *lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return head(f"Content-Length: {len(body)}", *lines, status=status) + body


def says(*parts: bytes) -> Callable[[socket.socket], object]:
    """Say it, and close the connection."""

    def play(connection: socket.socket) -> bool:
        for part in parts:
            connection.sendall(part)
        return True

    return play


def then_hangs(said: bytes) -> Callable[[socket.socket], object]:
    def play(connection: socket.socket) -> bool:
        connection.sendall(said)
        connection.recv(1)
        return True

    return play


def then_resets(said: bytes) -> Callable[[socket.socket], object]:
    def play(connection: socket.socket) -> bool:
        connection.sendall(said)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    return play


def endless(start: bytes, more: bytes, every: float = 0.0) -> Callable[[socket.socket], object]:
    """Say the start, and then the same again and again, for as long as anybody listens."""

    def play(connection: socket.socket) -> bool:
        end = time.monotonic() + GIVE_UP
        connection.sendall(start)
        while time.monotonic() < end:
            connection.sendall(more)
            time.sleep(every)
        return True

    return play


def noise(seed: int) -> Callable[[socket.socket], object]:
    """Say random bytes, after as much of a right answer as the seed says."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    said = whole(GREEN)[: draw.choice((0, 5, 9, 17, 30, 60))]
    return says(said + draw.randbytes(draw.choice((1, 100, 10_000))))


_CHUNKED = head("Transfer-Encoding: chunked")
_BOMB = gzip.compress(b" " * 50_000_000, 9) * 20  # a gigabyte from a megabyte


def _encoded(body: bytes, coding: str) -> Callable[[socket.socket], object]:
    return says(whole(body, f"Content-Encoding: {coding}"))


def _length(value: str) -> Callable[[socket.socket], object]:
    return says(head(f"Content-Length: {value}") + GREEN)


def _chunks(text: bytes) -> Callable[[socket.socket], object]:
    return says(_CHUNKED + text)


def _named(name: str, plays: Iterable[Any]) -> dict[str, Any]:
    return {f"{name} {number}": play for number, play in enumerate(plays)}


PLAYS: dict[str, Callable[[socket.socket], object]] = {
    "length too long, closed": _length("100000"),
    "length too long, open": then_hangs(head("Content-Length: 100000") + GREEN),
    "length too short": _length("20"),
    "length 0": _length("0"),
    "length negative": _length("-5"),
    "length huge": _length("9" * 18),
    "length beyond all bounds": _length("9" * 5000),
    "length no number": _length("0x50"),
    "length of odd digits": _length("\xb2\xb3"),
    "two lengths": says(head(f"Content-Length: {len(GREEN)}", "Content-Length: 5") + GREEN),
    "two lengths in one": _length(f"{len(GREEN)}, 7"),
    "chunks: no size": _chunks(b"xyz\r\n" + GREEN),
    "chunks: negative size": _chunks(b"-5\r\n" + GREEN),
    "chunks: size too long": _chunks(b"ffffff\r\n" + GREEN),
    "chunks: size too short": _chunks(b"5\r\n" + GREEN),
    "chunks: size beyond all bounds": _chunks(b"f" * 5000 + b"\r\n" + GREEN),
    "chunks: cut": _chunks(b"%x\r\n" % len(GREEN) + GREEN + b"\r\n"),
    "chunks: endless extension": endless(_CHUNKED + b"5;", b"x" * 60_000),
    "chunks: endless trailers": endless(_CHUNKED + b"1\r\n1\r\n0\r\n", b"A: b\r\n" * 5000),
    "chunks: endless and tiny": endless(_CHUNKED, b"1\r\n \r\n" * 5000),
    "chunks and gzip": says(head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    "headers without end": endless(head()[:-2], b"A: b\r\n" * 5000),
    "a header without end": endless(head()[:-2] + b"A: ", b"b" * 60_000),
    "a header with NUL": says(whole(GREEN, "A: \0")),
    "a header with a line break": says(whole(GREEN, "A: \rContent-Length: 5")),
    "a header without a name": says(whole(GREEN, ": b")),
    "a header without a colon": says(whole(GREEN, "nonsense")),
    "a name with a space": says(whole(GREEN, "Content-Length : 5")),
    "headers a byte at a time": endless(head()[:-2] + b"A: ", b"b", 0.02),
    "a status a byte at a time": endless(b"HTTP/1.1 200 ", b"O", 0.02),
    "a body a byte at a time": endless(head("Content-Length: 100000"), b" ", 0.02),
    "a body of chunks, slowly": endless(_CHUNKED, b"1\r\n \r\n", 0.02),
    "a body without end": endless(head(), b" " * 60_000),
    "interim answers without end": endless(b"", head(status="HTTP/1.1 100 Continue") * 1000),
    "interim answers, slowly": endless(b"", head(status="HTTP/1.1 103 Early Hints"), 0.02),
    "another protocol": says(head("Upgrade: x", status="HTTP/1.1 101 Switching Protocols") + GREEN),
    "a bomb, gzip": _encoded(_BOMB, "gzip"),
    "a bomb, deflate": _encoded(zlib.compress(b" " * 50_000_000, 9), "deflate"),
    "compressed, br": _encoded(GREEN, "br"),
    "compressed twice": _encoded(gzip.compress(gzip.compress(GREEN)), "gzip, gzip"),
    "compressed, not said": says(whole(gzip.compress(GREEN))),
    "compressed, said, not so": _encoded(GREEN, "gzip"),
    "a refused bomb": says(whole(_BOMB, "Content-Encoding: gzip", status="HTTP/1.1 500 No")),
    "a refusal without end": endless(head(status="HTTP/1.1 400 Bad"), b"no " * 20_000),
    "closed at once": says(),
    "reset at once": then_resets(b""),
    "reset in the status": then_resets(b"HTTP/1.1 2"),
    "reset in the headers": then_resets(head()[:-2]),
    "reset in the body": then_resets(whole(GREEN)[:-5]),
    "silence": then_hangs(b""),
    "silence after the headers": then_hangs(head("Content-Length: 50")),
    "a page of a proxy": says(whole(b"<html>Please sign in</html>", "Content-Type: text/html")),
    "HTTP/0.9": says(GREEN),
    "HTTP/2": says(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
    "HTTP/2 by name": says(whole(GREEN, status="HTTP/2.0 200 OK")),
    "HTTP/9.9": says(whole(GREEN, status="HTTP/9.9 200 OK")),
    "ICY": says(whole(GREEN, status="ICY 200 OK")),
    "TLS": says(b"\x15\x03\x03\x00\x02\x02\x28"),
    "status of letters": says(whole(GREEN, status="HTTP/1.1 abc OK")),
    "status 2": says(whole(GREEN, status="HTTP/1.1 2 OK")),
    "status 000": says(whole(GREEN, status="HTTP/1.1 000 OK")),
    "status 999": says(whole(GREEN, status="HTTP/1.1 999 OK")),
    "status 204": says(head(status="HTTP/1.1 204 No Content")),
    "status 304": says(head(status="HTTP/1.1 304 Not Modified")),
    "a date beyond all zones": says(
        whole(b"", "Date: Mon, 23 Nov 2026 10:00:00 +99999999999999999999")
    ),
    "a wait beyond all zones": says(
        whole(
            b"",
            "Retry-After: Mon, 23 Nov 2026 10:00:00 +99999999999999999999",
            status="HTTP/1.1 429 Too Many Requests",
        )
    ),
    "cookies without end": says(whole(b"", *(f"Set-Cookie: a{n}=b" for n in range(3000)))),
    **_named("noise", map(noise, range(12))),
}
