"""One answer has the time of one read, however it comes.

httpx limits each read of a connection by itself: a service that sends a byte now and then, or an
endless number of interim answers, would keep a client for ever. It has no other limit, and no place
where one could be put in; so the connections that its pools make are wrapped here. Where httpx has
changed inside, so that there is nothing to wrap, that is a warning.
"""

from __future__ import annotations

import ssl
import time
import warnings
from typing import Any, TypeVar

import httpcore  # what httpx is made of
import httpx

__all__ = ["answers_in_time"]

_Client = TypeVar("_Client", httpx.Client, httpx.AsyncClient)


def answers_in_time(client: _Client) -> _Client:
    """Return the client, whose read time-out is from now on one for the whole answer."""
    mounts: dict[Any, Any] = getattr(
        client, "_mounts", {"": client}
    )  # of proxies; None: none for that host
    for transport in (getattr(client, "_transport", client), *mounts.values()):
        if transport is not None and not _wrap(getattr(transport, "_pool", None)):
            warnings.warn(
                f"httpx {httpx.__version__} is not known inside: a time-out limits each read of an "
                f"answer, and not all of it ({type(transport).__name__} has no such pool). Use a "
                f"version of httpx that this release of empirical-provider was tested with.",
                RuntimeWarning,
                stacklevel=2,
            )
    return client


def _wrap(pool: Any) -> bool:
    """Wrap what makes the connections of a pool; return whether that was found."""
    backend = getattr(pool, "_network_backend", None)
    if isinstance(backend, httpcore.NetworkBackend):
        pool._network_backend = _Backend(backend)  # noqa: SLF001  # as above
    elif isinstance(backend, httpcore.AsyncNetworkBackend):
        pool._network_backend = _AsyncBackend(backend)  # noqa: SLF001  # as above
    else:
        return False
    return True


class _Deadline:
    """When the answer must be there that is being read: set by the first read after a write."""

    def __init__(self) -> None:
        self._by: float | None = None

    def forget(self) -> None:
        self._by = None

    def left(self, timeout: float | None) -> float | None:
        if timeout is None:
            return None
        now = time.monotonic()
        if self._by is None:
            self._by = now + timeout
        if now >= self._by:
            raise httpcore.ReadTimeout("the answer came too slowly")
        return self._by - now


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_tcp(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._deadline = _Deadline()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._deadline.forget()
        self._stream.write(buffer, timeout)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(await self._backend.connect_tcp(*args, **kwargs))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._deadline = _Deadline()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's name
        return await self._stream.read(max_bytes, self._deadline.left(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        self._deadline.forget()
        await self._stream.write(buffer, timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
