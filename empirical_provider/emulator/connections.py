"""The TCP connections under the requests: counted, and open to being cut."""

import asyncio
import threading

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connections", "protocol_for"]

Peer = tuple[str, int]


class Connections:
    """Counts accepted connections and knows the transport of each open one by its peer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted = 0
        self._transports: dict[Peer, asyncio.Transport] = {}

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        with self._lock:
            return self._accepted

    def reset(self) -> None:
        """Count from zero again; open connections stay open."""
        with self._lock:
            self._accepted = 0

    def opened(self, peer: Peer | None, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        with self._lock:
            self._accepted += 1
            if peer is not None:  # None: it was gone before it could be asked
                self._transports[peer] = transport

    def closed(self, peer: Peer | None) -> None:
        """Note the end of a connection."""
        with self._lock:
            if peer is not None:
                self._transports.pop(peer, None)

    def transport(self, peer: Peer) -> asyncio.Transport | None:
        """Return the transport of an open connection, on the loop's own thread."""
        with self._lock:
            return self._transports.get(peer)


def protocol_for(connections: Connections) -> type[H11Protocol]:
    """Make a uvicorn protocol that reports its connections here."""

    class ReportingProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.access_log = False  # on the instance: the logger is shared with the host process
            connections.opened(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self.client)
            super().connection_lost(exc)

    return ReportingProtocol
