"""The ASGI application: all routes, and what is said when something is refused."""

from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from .api import BAD_KEY, api_routes, has_good_key
from .control import LOCAL_HOSTS, Control, control_routes
from .dates import Dated
from .errors import FieldError, RefusedError, UnknownRunError
from .report import not_found_page, report_routes
from .state import State
from .wire import CONTROL_PREFIX, Wire

__all__ = ["build_app"]


def build_app(control: Control) -> ASGIApp:
    """Put the application together."""
    routes = api_routes(control.state)
    app = Starlette(
        routes=[*control_routes(control), *routes, *report_routes(control.state)],
        middleware=[
            # A page from elsewhere must not reach this through a name that resolves to 127.0.0.1.
            Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_HOSTS), www_redirect=False),
            Middleware(
                Wire,
                routes=routes,
                faults=control.faults,
                journal=control.journal,
                connections=control.connections,
                now=control.state.time,
            ),
            # Here too: an answer that a fault holds back keeps the date at which it was made.
            Middleware(Dated, now=control.state.time),
        ],
        exception_handlers={
            FieldError: _refuse,
            RefusedError: _refuse,
            UnknownRunError: _refuse,
            HTTPException: partial(_no_route, control.state),
        },
    )
    return Dated(app, now=control.state.time)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


async def _refuse(_: Request, exc: Exception) -> Response:
    if isinstance(exc, RefusedError):
        return _error(exc.status, str(exc))
    return _error(404 if isinstance(exc, UnknownRunError) else 422, str(exc))


async def _no_route(state: State, request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    if request.url.path.startswith("/api/") and not has_good_key(state, request):
        return _error(401, BAD_KEY)
    if request.url.path.startswith(("/api/", f"{CONTROL_PREFIX}/")):
        answer = _error(status, f"{request.method} {request.url.path}: no such endpoint")
    else:
        answer = not_found_page()
        answer.status_code = status
    if isinstance(exc, HTTPException):
        answer.headers.update(exc.headers or {})
    return answer
