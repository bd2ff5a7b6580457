"""The receivers of the examples, served for real, and webhooks sent to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from tests.signing import webhook


class Receiver:
    """A receiver that can be reached.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Send it any request."""
        return httpx.post(self.url, content=body, headers=headers, timeout=90, trust_env=False)

    def told(self, event: str, test_run_id: int, **more: Any) -> httpx.Response:
        """Send it a genuine webhook about a run."""
        return self.send(*webhook({"event": event, "data": {"test_run_id": test_run_id}, **more}))


@contextmanager
def served(app: Any) -> Iterator[Receiver]:
    """Serve an ASGI app on a free port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()  # who connects before it is ready waits in the socket's queue
        try:
            yield Receiver(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            server.should_exit = True
            thread.join()
