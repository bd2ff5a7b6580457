"""The control plane: what a test does behind the scenes, over HTTP and from Python alike."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import bodies, views
from .api import ENDPOINTS
from .behaviour import Behaviour
from .connections import Connections
from .errors import RefusedError, UnknownRunError
from .faults import FaultBook
from .journal import Journal
from .queries import whole_number
from .runs import STATES
from .state import State
from .wire import CONTROL_PREFIX

__all__ = ["LOCAL_HOSTS", "Control", "control_routes"]

LOCAL_HOSTS = ("127.0.0.1", "localhost")
_FORCE = bodies.record(required={"state": bodies.text(among=STATES)}, optional={})
_KEY = bodies.record(required={"key": bodies.text(), "revoked": bodies.boolean}, optional={})
_NOTHING = bodies.record(required={}, optional={})


class Control:
    """The operations. Each takes fields as they come, checks them and acts.

    Attributes:
        state: Keys, scripts, switches and runs.
        faults: What shall go wrong.
        journal: What was asked.
        connections: The connections so far.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.faults = FaultBook(ENDPOINTS)
        self.journal = Journal()
        self.connections = Connections()

    def script(self, fields: Mapping[str, Any]) -> None:
        """Set how later runs of an environment end."""
        self.state.script(fields)

    def behave(self, changes: Mapping[str, Any]) -> Behaviour:
        """Set some switches of how the service behaves."""
        self.state.behave(changes)
        return self.state.behaviour

    def fault(self, fields: Mapping[str, Any]) -> None:
        """Let something go wrong."""
        self.faults.add(fields)

    def force(self, run_id: int, fields: Mapping[str, Any]) -> views.RunSnapshot:
        """Put one run into a state."""
        _FORCE("", fields)
        return views.snapshot(self.state.force(run_id, fields["state"]))

    def delete(self, run_id: int) -> None:
        """Remove one run."""
        self.state.delete(run_id)

    def key(self, fields: Mapping[str, Any]) -> None:
        """Revoke a key or accept it again."""
        _KEY("", fields)
        self.state.set_revoked(fields["key"], revoked=fields["revoked"])

    def runs(self) -> list[views.RunSnapshot]:
        """Take snapshots of all runs, newest last."""
        return [views.snapshot(run) for run in self.state.all()]

    def reset(self) -> None:
        """Return to the beginning."""
        self.state.reset()
        self.faults.clear()
        self.journal.clear()
        self.connections.reset()


def control_routes(control: Control) -> list[Route]:
    """Make the routes under the control plane's prefix."""
    plane = _Plane(control)
    table = [
        ("GET", "/", plane.summary),
        ("GET", "/requests", plane.requests),
        ("POST", "/faults", plane.add_fault),
        ("DELETE", "/faults", plane.clear_faults),
        ("POST", "/scripts", plane.script),
        ("POST", "/behaviour", plane.behave),
        ("POST", "/runs/{run_id}", plane.force),
        ("DELETE", "/runs/{run_id}", plane.delete),
        ("POST", "/keys", plane.key),
        ("POST", "/reset", plane.reset),
    ]
    return [Route(f"{CONTROL_PREFIX}{path}", run, methods=[verb]) for verb, path, run in table]


class _Plane:
    """The operations over HTTP."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def summary(self, request: Request) -> Response:
        await _fields(request)
        settings = self._control.state.settings
        return JSONResponse(
            {
                "url": str(request.base_url).rstrip("/"),
                "project": settings.project,
                "environments": list(settings.outcomes),
                "runs": [asdict(run) for run in self._control.runs()],
                "faults": self._control.faults.all(),
                "behaviour": self._control.state.behaviour.as_json(),
                "connections": self._control.connections.accepted,
            }
        )

    async def requests(self, request: Request) -> Response:
        await _fields(request)
        return JSONResponse({"requests": [vars(r) for r in self._control.journal.all()]})

    async def add_fault(self, request: Request) -> Response:
        self._control.fault(await _fields(request))
        return self._faults()

    async def clear_faults(self, request: Request) -> Response:
        await _fields(request)
        self._control.faults.clear()
        return self._faults()

    async def script(self, request: Request) -> Response:
        fields = await _fields(request)
        self._control.script(fields)
        return JSONResponse({"script": fields})

    async def behave(self, request: Request) -> Response:
        behaviour = self._control.behave(await _fields(request))
        return JSONResponse({"behaviour": behaviour.as_json()})

    async def force(self, request: Request) -> Response:
        run = self._control.force(_run_id(request), await _fields(request))
        return JSONResponse({"run": asdict(run)})

    async def delete(self, request: Request) -> Response:
        await _fields(request)
        run_id = _run_id(request)
        self._control.delete(run_id)
        return JSONResponse({"deleted": run_id})

    async def key(self, request: Request) -> Response:
        fields = await _fields(request)
        self._control.key(fields)
        return JSONResponse({"revoked": fields["revoked"]})

    async def reset(self, request: Request) -> Response:
        _NOTHING("", await _fields(request))
        self._control.reset()
        return JSONResponse({"reset": True})

    def _faults(self) -> Response:
        return JSONResponse({"faults": self._control.faults.all()})


async def _fields(request: Request) -> Any:
    """Read the body. No key guards this, so pages from elsewhere are kept out by their origin."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).hostname not in LOCAL_HOSTS:
        raise RefusedError(403, f"Requests from {origin} are not served")
    return bodies.parse(await request.body())


def _run_id(request: Request) -> int:
    raw = request.path_params["run_id"]
    number = whole_number(raw)
    if number is None:
        raise UnknownRunError(raw)
    return number
