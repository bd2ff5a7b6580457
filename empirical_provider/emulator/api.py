"""The API's routes: read the request, ask the state, show the answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import bodies, views
from .errors import FieldError, RefusedError, UnknownRunError
from .queries import CaseQuery, Query, page_of, whole_number
from .runs import Run
from .state import State

__all__ = ["BAD_KEY", "ENDPOINTS", "api_routes", "has_good_key"]

BAD_KEY = "Invalid or missing API key"

ENDPOINTS: Mapping[str, tuple[str, str]] = {
    "trigger": ("PUT", "/api/test-runs"),
    "list_test_runs": ("GET", "/api/test-runs"),
    "get_test_run": ("GET", "/api/test-runs/{run_id}"),
    "rerun_test_run": ("POST", "/api/test-runs/{run_id}/re-run"),
    "cancel_test_run": ("POST", "/api/test-runs/{run_id}/cancel"),
    "list_cases": ("GET", "/api/v2/test-runs/{run_id}/cases"),
    "list_environments": ("GET", "/api/environments/list"),
    "list_test_cases": ("GET", "/api/v2/test-cases"),
    "get_project": ("GET", "/api/projects/{project_id}"),
}

Handler = Callable[[Request], Awaitable[Response]]


def api_routes(state: State) -> list[Route]:
    """Make the routes, one for each of `ENDPOINTS`, named after it."""
    api = _Api(state)
    return [
        Route(path, _guarded(state, getattr(api, name)), methods=[method], name=name)
        for name, (method, path) in ENDPOINTS.items()
    ]


class _Api:
    """One method for each endpoint, of the same name."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._settings = state.settings

    async def trigger(self, request: Request) -> Response:
        body = bodies.parse(await request.body())
        bodies.check_trigger(body)
        return self._started(self._state.trigger(body))

    async def list_test_runs(self, request: Request) -> Response:
        query = Query.read(request.query_params)
        runs, total = self._state.read_page(query)
        echo = self._state.behaviour.echo_in_list
        return JSONResponse(views.list_answer(runs, total, query, self._settings, echo))

    async def get_test_run(self, request: Request) -> Response:
        run = self._state.read(_run_id(request))
        behaviour = self._state.behaviour
        echo, shape = behaviour.echo_in_detail, behaviour.detail_shape
        return JSONResponse(views.detail_answer(run, self._settings, echo, shape))

    async def list_cases(self, request: Request) -> Response:
        page, per_page = page_of(request.query_params, most=200)
        run = self._state.peek(_run_id(request))
        return JSONResponse(views.cases_answer(run, page, per_page))

    async def rerun_test_run(self, request: Request) -> Response:
        body = bodies.parse(await request.body())
        bodies.RERUN("", body)
        return self._started(self._state.rerun(_run_id(request), body))

    def _started(self, run: Run) -> Response:
        return JSONResponse(views.trigger_answer(run, self._settings), run.plan.status)

    async def cancel_test_run(self, request: Request) -> Response:
        body = bodies.parse(await request.body())
        bodies.CANCEL("", body)
        self._state.cancel(_run_id(request), body.get("reason"))
        return JSONResponse({"message": "Test run cancelled successfully"})

    async def list_environments(self, _: Request) -> Response:
        disabled = self._state.behaviour.disabled_environments
        return JSONResponse(views.environments_answer(self._settings, disabled))

    async def list_test_cases(self, request: Request) -> Response:
        return JSONResponse(views.test_cases_answer(CaseQuery.read(request.query_params)))

    async def get_project(self, request: Request) -> Response:
        raw = request.path_params["project_id"]
        if whole_number(raw) != self._settings.project_id:
            raise RefusedError(404, f"Project {raw} not found")
        return JSONResponse({"data": self._settings.project})


def has_good_key(state: State, request: Request) -> bool:
    """Tell whether a request comes with a bearer key that is good."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and state.accepts(key.strip())


def _guarded(state: State, handler: Handler) -> Handler:
    """Let a request through to its handler only with a good key and the right project."""

    async def guarded(request: Request) -> Response:
        if not has_good_key(state, request):
            raise RefusedError(401, BAD_KEY)
        project: Any = request.headers.get("x-project-id")
        if project is not None:
            number = whole_number(project)
            if number is None:
                raise FieldError("x-project-id", f"must be an integer, not {project!r}")
            if number != state.settings.project_id:
                raise RefusedError(403, f"This key has no access to project {number}")
        return await handler(request)

    return guarded


def _run_id(request: Request) -> int:
    raw = request.path_params["run_id"]
    number = whole_number(raw)
    if number is None:
        raise UnknownRunError(raw)
    return number
