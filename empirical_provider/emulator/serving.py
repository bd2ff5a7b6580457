"""A uvicorn server in a thread of its own, from its start to its end."""

import asyncio
import socket
import sys
import threading

import uvicorn

from .app import build_app
from .connections import protocol_for
from .control import Control

__all__ = ["HOST", "Serving"]

HOST = "127.0.0.1"
_LIMIT_SECONDS = 120.0


class Serving:
    """One server in one thread; ready once it is made.

    Args:
        control: What is served.
        port: Port to listen on; 0 takes a free one.

    Raises:
        OSError: The port is taken.
        RuntimeError: The server does not come up.
    """

    def __init__(self, control: Control, port: int) -> None:
        listener = _listen(port)
        self.port: int = listener.getsockname()[1]
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        config = uvicorn.Config(
            build_app(control),
            http=protocol_for(control.connections),
            ws="none",
            lifespan="off",
            log_config=None,  # logging belongs to the process that we are a guest in
            server_header=False,
            date_header=False,  # the app dates its answers by the service's clock
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config, self._ready)
        name = f"empirical-emulator-{self.port}"
        self._thread = threading.Thread(target=self._run, args=(listener,), name=name, daemon=True)
        self._thread.start()
        if not self._ready.wait(_LIMIT_SECONDS) or self._failure is not None:
            self._server.should_exit = True
            message = f"the emulator did not come up within {_LIMIT_SECONDS:g} seconds"
            raise RuntimeError(message) from self._failure

    def end(self) -> None:
        """Cut all connections, and end the server and its thread.

        Raises:
            RuntimeError: It does not end, or has ended by a failure of its own.
        """
        self._server.should_exit = True
        self._thread.join(_LIMIT_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError(f"the emulator did not end within {_LIMIT_SECONDS:g} seconds")
        if self._failure is not None:
            raise RuntimeError("the emulator has failed") from self._failure

    def _run(self, listener: socket.socket) -> None:
        try:
            with listener:
                asyncio.run(self._server.serve(sockets=[listener]))
        except BaseException as exc:  # noqa: BLE001  the thread that waits raises it
            self._failure = exc
        finally:
            self._ready.set()


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is ready and does not wait for clients to leave.

    Signals stay with the process: uvicorn takes them only in the main thread.
    """

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio sends small answers at once only if it can see it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as exc:
        listener.close()
        raise OSError(exc.errno, f"cannot listen on {HOST}:{port}: {exc.strerror}") from exc
    except BaseException:
        listener.close()
        raise
    return listener
