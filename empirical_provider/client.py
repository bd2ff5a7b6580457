"""The two clients, which send and decide nothing.

What is sent stands in `endpoints`, what it came to in `outcomes`, when to try again in `retry`.
The classes are twins: the same lines but for ``async`` and ``await``. A test proves it; they stand
in one module, long as it is, to be read side by side.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Self, TypeVar

import httpx

from empirical_provider import checks, endpoints, project_endpoints
from empirical_provider.answers import Unreadable
from empirical_provider.base_client import BaseClient
from empirical_provider.deadlines import answers_in_time
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.logs import CallLog
from empirical_provider.models import Environment, Project, TestRun, TestRunRequest
from empirical_provider.outcomes import endless_list, failure_of, result_of
from empirical_provider.receiving import Answer, Body

__all__ = ["AsyncEmpiricalClient", "EmpiricalClient"]

T = TypeVar("T")

log = CallLog.of(__name__)

_MOST_STALE = 100
"""Pages in a row without a run that was not on one before, after which a list has no end."""


class EmpiricalClient(BaseClient):
    """Client of the Empirical API, for use as a context manager.

    ```python
    from empirical_provider import EmpiricalClient, TestRunRequest

    with EmpiricalClient() as client:  # the API key is in EMPIRICALRUN_KEY
        run = client.trigger(TestRunRequest(environment="staging"))
        print(client.get_test_run(run.id).state)
    ```

    Every method that asks the service raises the errors of `empirical_provider.exceptions`.
    """

    def _open(self) -> None:
        self._http = answers_in_time(httpx.Client(**self._http_options()))
        self._sleep = time.sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def trigger(self, request: TestRunRequest) -> TestRun:
        """Start a test run, as `trigger_test_run` does, but without looking up its page.

        Raises:
            TriggerRejectedError: The service said that it did not start the run.
            TriggerOutcomeUnknownError: The run may have been started, or not.
        """
        self._mask(request)
        return self.with_url(self._send(endpoints.trigger(request)))

    def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> TestRun:
        """Read a run, with its counts and tests as far as there are any.

        Args:
            run_id: Database id of the run.
            retry_for: Seconds during which to try again, 0 for never; default: the client's.

        Raises:
            NotFoundError: There is no such run, or the key may not see it.
        """
        return self.with_url(self._send(endpoints.get_test_run(run_id), retry_for=retry_for))

    def list_test_runs(
        self,
        *,
        environment_ids: Iterable[int] | None = None,
        branch: str | None = None,
        state: str | None = None,
        result: str | None = None,
        interval_in_days: int | None = None,
        per_page: int = 100,
    ) -> Iterator[TestRun]:
        """Go through the runs of the project, newest first; pages are read as they are needed.

        Args:
            environment_ids: Only runs of the environments with these ids; default: all.
            branch: Only runs of this branch of the test repository; default: all.
            state: Only runs in this state, such as ``ended``; default: all.
            result: Only runs that ``passed`` or ``failed``; default: all.
            interval_in_days: Only runs created in the last so many days; default: all.
            per_page: Runs to read at a time, 1 to 100; default 100.

        Raises:
            InvalidRequestError: A filter is not valid; raised at once, not with the first run.
        """
        filters = {
            "environment_ids": checks.list_of_ids("environment_ids", environment_ids)
            if environment_ids is not None
            else None,
            "branch": branch,
            "state": state,
            "result": result,
            "interval_in_days": interval_in_days,
            "per_page": per_page,
        }
        endpoints.list_test_runs(1, **filters)  # refuses a bad filter here, not at the first item
        return self._runs(filters)

    def _runs(self, filters: dict[str, Any]) -> Iterator[TestRun]:
        seen, stale = set[int](), 0
        for page in itertools.count(1):
            listed = self._send(endpoints.list_test_runs(page, **filters))
            # A run that starts meanwhile moves the others on, so that they may come up again.
            fresh = [run for run in listed.runs if run.id not in seen]
            for run in fresh:
                seen.add(run.id)
                yield self.with_url(run)
            stale = 0 if fresh else stale + 1
            if not (listed.runs and listed.more):
                return
            if stale >= _MOST_STALE:
                raise endless_list(stale)

    def cancel_test_run(self, run_id: int, *, reason: str | None = None) -> None:
        """Ask the service to cancel a run; it becomes ``cancelled`` some time after.

        Args:
            run_id: Database id of the run.
            reason: Recorded with the run; default: none.

        Raises:
            AlreadyFinishedError: The run was in a terminal state already.
        """
        self._send(endpoints.cancel_test_run(run_id, reason=reason))

    def rerun_test_run(
        self,
        run_id: int,
        *,
        only_failed: bool | None = None,
        send_notifications: bool | None = None,
    ) -> TestRun:
        """Start a run that repeats another one with its branch, build and overrides.

        Args:
            run_id: Database id of the run to repeat; it must have finished.
            only_failed: Repeat only the tests that failed; default: the service's.
            send_notifications: Whether Empirical notifies; default: as for the run repeated.

        Raises:
            TriggerRejectedError: The service said that it did not start the run.
            TriggerOutcomeUnknownError: The run may have been started, or not.
        """
        call = endpoints.rerun_test_run(
            run_id, only_failed=only_failed, send_notifications=send_notifications
        )
        return self.with_url(self._send(call))

    def list_environments(self) -> list[Environment]:
        """Read the environments of the project, disabled ones included."""
        return self._send(project_endpoints.list_environments(self._settings.project_id))

    def get_project(self, project_id: int) -> Project:
        """Read a project, such as for its slug.

        Args:
            project_id: Id of the project.

        Raises:
            NotFoundError: There is no such project, or the key may not see it.
        """
        return self._send(project_endpoints.get_project(project_id))

    def find_url(self, run: TestRun) -> TestRun:
        """Return the run with its dashboard page, asking for the project's slug if need be.

        A link is worth one try and no error: where the slug cannot be had, the run comes back
        as it was, with ``url`` None.
        """
        for call in self._link_calls(run):
            try:
                found = self._send(call, retry_for=0)
            except EmpiricalError as error:
                log.info("The link of test run %s is not known: %s", run.id, error)
                continue
            if self._learn_slug(found):
                break
        return self.with_url(run)

    def _send(self, call: Call[T], *, retry_for: float | None = None) -> T:
        attempts = self._attempts(retry_for)
        while True:
            try:
                return result_of(self._settings, call, self._heard(self._exchange(call)))
            except EmpiricalError as error:
                delay = attempts.delay_after(error)
                log.warning("%s Sending again in %.1f s.", error, delay)
            self._sleep(delay)

    def _exchange(self, call: Call[Any]) -> Answer | EmpiricalError:
        try:
            with self._http.stream(**self._request(call)) as response:
                body = Body(response)
                for chunk in response.iter_raw():
                    if not body.wants(chunk):
                        break
                return body.answer()
        except (httpx.HTTPError, httpx.InvalidURL, Unreadable) as cause:
            return failure_of(self._settings, call, cause)


class AsyncEmpiricalClient(BaseClient):
    """Async client of the Empirical API, with the settings and methods of `EmpiricalClient`.

    They are awaited, but for ``list_test_runs``, which is for ``async for``; ``close`` is called
    ``aclose``.

    ```python
    import asyncio

    from empirical_provider import AsyncEmpiricalClient


    async def show_failed_runs():
        async with AsyncEmpiricalClient() as client:
            async for run in client.list_test_runs(result="failed", interval_in_days=1):
                print(run.id, (await client.get_test_run(run.id)).failed_count)


    asyncio.run(show_failed_runs())
    ```
    """

    def _open(self) -> None:
        self._http = answers_in_time(httpx.AsyncClient(**self._http_options()))
        self._sleep = asyncio.sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See `EmpiricalClient.close`."""
        await self._http.aclose()

    async def trigger(self, request: TestRunRequest) -> TestRun:
        """See `EmpiricalClient.trigger`."""
        self._mask(request)
        return self.with_url(await self._send(endpoints.trigger(request)))

    async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> TestRun:
        """See `EmpiricalClient.get_test_run`."""
        return self.with_url(await self._send(endpoints.get_test_run(run_id), retry_for=retry_for))

    def list_test_runs(
        self,
        *,
        environment_ids: Iterable[int] | None = None,
        branch: str | None = None,
        state: str | None = None,
        result: str | None = None,
        interval_in_days: int | None = None,
        per_page: int = 100,
    ) -> AsyncIterator[TestRun]:
        """See `EmpiricalClient.list_test_runs`."""
        filters = {
            "environment_ids": checks.list_of_ids("environment_ids", environment_ids)
            if environment_ids is not None
            else None,
            "branch": branch,
            "state": state,
            "result": result,
            "interval_in_days": interval_in_days,
            "per_page": per_page,
        }
        endpoints.list_test_runs(1, **filters)  # refuses a bad filter here, not at the first item
        return self._runs(filters)

    async def _runs(self, filters: dict[str, Any]) -> AsyncIterator[TestRun]:
        seen, stale = set[int](), 0
        for page in itertools.count(1):
            listed = await self._send(endpoints.list_test_runs(page, **filters))
            # A run that starts meanwhile moves the others on, so that they may come up again.
            fresh = [run for run in listed.runs if run.id not in seen]
            for run in fresh:
                seen.add(run.id)
                yield self.with_url(run)
            stale = 0 if fresh else stale + 1
            if not (listed.runs and listed.more):
                return
            if stale >= _MOST_STALE:
                raise endless_list(stale)

    async def cancel_test_run(self, run_id: int, *, reason: str | None = None) -> None:
        """See `EmpiricalClient.cancel_test_run`."""
        await self._send(endpoints.cancel_test_run(run_id, reason=reason))

    async def rerun_test_run(
        self,
        run_id: int,
        *,
        only_failed: bool | None = None,
        send_notifications: bool | None = None,
    ) -> TestRun:
        """See `EmpiricalClient.rerun_test_run`."""
        call = endpoints.rerun_test_run(
            run_id, only_failed=only_failed, send_notifications=send_notifications
        )
        return self.with_url(await self._send(call))

    async def list_environments(self) -> list[Environment]:
        """See `EmpiricalClient.list_environments`."""
        return await self._send(project_endpoints.list_environments(self._settings.project_id))

    async def get_project(self, project_id: int) -> Project:
        """See `EmpiricalClient.get_project`."""
        return await self._send(project_endpoints.get_project(project_id))

    async def find_url(self, run: TestRun) -> TestRun:
        """See `EmpiricalClient.find_url`."""
        for call in self._link_calls(run):
            try:
                found = await self._send(call, retry_for=0)
            except EmpiricalError as error:
                log.info("The link of test run %s is not known: %s", run.id, error)
                continue
            if self._learn_slug(found):
                break
        return self.with_url(run)

    async def _send(self, call: Call[T], *, retry_for: float | None = None) -> T:
        attempts = self._attempts(retry_for)
        while True:
            try:
                return result_of(self._settings, call, self._heard(await self._exchange(call)))
            except EmpiricalError as error:
                delay = attempts.delay_after(error)
                log.warning("%s Sending again in %.1f s.", error, delay)
            await self._sleep(delay)

    async def _exchange(self, call: Call[Any]) -> Answer | EmpiricalError:
        try:
            async with self._http.stream(**self._request(call)) as response:
                body = Body(response)
                async for chunk in response.aiter_raw():
                    if not body.wants(chunk):
                        break
                return body.answer()
        except (httpx.HTTPError, httpx.InvalidURL, Unreadable) as cause:
            return failure_of(self._settings, call, cause)
