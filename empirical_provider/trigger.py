"""The one function that every host calls to start a test run, and its async twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

from empirical_provider import endpoints
from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.driving import adrive, drive
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.idempotency import start_once
from empirical_provider.logs import CallLog
from empirical_provider.models import TestRun, TestRunRequest
from empirical_provider.searching import Clocks, LimitedCall, Pause
from empirical_provider.sending import send_once
from empirical_provider.started_runs import STARTED_HERE, Service
from empirical_provider.trigger_once import Save, Started, Step, TriggerOnce

__all__ = ["AsyncSaver", "Saver", "atrigger_test_run", "trigger_test_run"]

log = CallLog.of(__name__)

Saver = Callable[[Mapping[str, Any] | None], object]
AsyncSaver = Callable[[Mapping[str, Any] | None], Awaitable[object]]
"""How a host saves what its next attempt needs to know."""


def trigger_test_run(
    client: EmpiricalClient,
    request: TestRunRequest,
    *,
    key: str | TriggerOnce | None = None,
    key_in_environment: bool | None = None,
    on_started: Callable[[TestRun], object] | None = None,
    save: Saver | None = None,
) -> TestRun:
    """Start a test run and return it, with its dashboard page if that can be had.

    It does not wait for the run to finish.

    **Without a key** the request is sent again only where it cannot have had an effect, so that a
    lost answer never makes a second run, but `TriggerOutcomeUnknownError`.

    **With a key** there is one run for it, whatever crashes: a run that was started for the same
    key within the last day at least is returned instead of starting one, unless it has ended in
    error or was cancelled. A lost answer is made good: the run is looked up by the key, which
    travels with it. Of several that start at the same time one wins, and all return it.

    A response that names a run which cannot be the one (it is over already, older than the request,
    in another environment or under another key) counts as lost.

    Args:
        client: An open client.
        request: What to run.
        key: What the run is for, such as a release id: unique for each release. Or, for hosts that
            know more about earlier attempts, a `TriggerOnce`.
        key_in_environment: Whether the key travels in the environment of the tests, too, as
            ``EMPIRICAL_TRIGGER_KEY``: run lists are known to show that, and not known to show
            metadata, so that without it a run that has to be found may not be. Default: wherever
            there is a key; True is refused without one. A `TriggerOnce` says so itself.
        on_started: Called with the run as soon as its id is known, before its page is looked up,
            so that a host can save the id at once. Called again if another run takes its place.
        save: Called with what the next attempt needs to know (plain data; None: nothing), before
            and after each request to start a run. The next attempt gives it to `TriggerOnce`.

    Returns:
        The run, usually in the state ``queued``.

    Raises:
        InvalidRequestError: An argument is not valid, or the key was used before for a request that
            tests something else.
        TriggerRejectedError: The service said that it did not start the run.
        TriggerOutcomeUnknownError: The run may have been started, or not.
        EmpiricalError: Any other error of the tree: nothing was started.
    """

    def act(step: Step) -> Any:
        match step:
            case Call():
                return client._send(step)  # noqa: SLF001  # of the same package
            case LimitedCall(call, seconds):
                return client._send(call, retry_for=client._at_most(seconds))  # noqa: SLF001
            case Pause(seconds):
                client._sleep(seconds)  # noqa: SLF001  # as above
            case Started(run) if on_started is not None:
                on_started(client.with_url(run))
            case Save(record) if save is not None:
                save(record)
        return None

    run = client.find_url(drive(_steps(client, request, key, key_in_environment), act))
    _tell(run)
    return run


async def atrigger_test_run(
    client: AsyncEmpiricalClient,
    request: TestRunRequest,
    *,
    key: str | TriggerOnce | None = None,
    key_in_environment: bool | None = None,
    on_started: Callable[[TestRun], object] | None = None,
    save: AsyncSaver | None = None,
) -> TestRun:
    """Do what `trigger_test_run` does, with an async client; ``save`` is awaited."""

    async def act(step: Step) -> Any:
        match step:
            case Call():
                return await client._send(step)  # noqa: SLF001  # of the same package
            case LimitedCall(call, seconds):
                return await client._send(call, retry_for=client._at_most(seconds))  # noqa: SLF001
            case Pause(seconds):
                await client._sleep(seconds)  # noqa: SLF001  # as above
            case Started(run) if on_started is not None:
                on_started(client.with_url(run))
            case Save(record) if save is not None:
                await save(record)
        return None

    run = await client.find_url(await adrive(_steps(client, request, key, key_in_environment), act))
    _tell(run)
    return run


def _steps(
    client: EmpiricalClient | AsyncEmpiricalClient,
    request: TestRunRequest,
    key: str | TriggerOnce | None,
    key_in_environment: bool | None,
) -> Generator[Step, Any, TestRun]:
    client._mask(request)  # noqa: SLF001  # of the same package
    if key is None:
        if key_in_environment:
            raise InvalidRequestError("key_in_environment has no effect without a key: give one.")
        return _unkeyed(request, _service(client), _clocks(client))
    if not isinstance(key, TriggerOnce):
        in_environment = True if key_in_environment is None else key_in_environment
        key = TriggerOnce(key=key, key_in_environment=in_environment, shared=True)
    return start_once(request, key, _clocks(client), _service(client))


def _clocks(client: EmpiricalClient | AsyncEmpiricalClient) -> Clocks:
    return Clocks(
        wall=client._wall,  # noqa: SLF001
        running=client._clock,  # noqa: SLF001
        service=lambda: client.service_time,
    )


def _service(client: EmpiricalClient | AsyncEmpiricalClient) -> Service:
    settings = client._settings  # noqa: SLF001
    return Service(
        base_url=settings.base_url,
        dashboard_url=settings.dashboard_url,
        api_key=settings.api_key,
        started=STARTED_HERE,
    )


def _unkeyed(
    request: TestRunRequest, service: Service, clocks: Clocks
) -> Generator[Step, Any, TestRun]:
    run = yield from send_once(endpoints.trigger(request), clocks, service.why_not_new)
    service.note(run, None)
    yield Started(run)
    return run


def _tell(run: TestRun) -> None:
    page = run.url or "(its page is not known)"
    log.info("Empirical test run %s is %s in %r: %s", run.id, run.state, run.environment, page)
