"""The Date header of every answer, by the service's own clock."""

from collections.abc import Callable
from email.utils import formatdate

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Dated"]


class Dated:
    """ASGI middleware that dates an answer when it begins, unless it has a date already.

    Args:
        app: What answers.
        now: Returns seconds since the epoch by the service's clock.
    """

    def __init__(self, app: ASGIApp, *, now: Callable[[], float]) -> None:
        self._app = app
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(self._now(), usegmt=True)
                MutableHeaders(scope=message).setdefault("date", date)
            await send(message)

        await self._app(scope, receive, dated)
