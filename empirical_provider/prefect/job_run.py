"""The handle on a test run that a job has started, or was attached to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from prefect.blocks.abstract import JobRun

from empirical_provider.exceptions import (
    AlreadyFinishedError,
    EmpiricalError,
    GateClosedError,
    ReportNotWrittenError,
)

if TYPE_CHECKING:
    from empirical_provider.destinations import Destination
    from empirical_provider.models import TestRun
    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.verdict import VerdictDict

__all__ = ["EmpiricalTestJobRun"]


class EmpiricalTestJobRun(JobRun[dict[str, Any]]):
    """A test run of an `EmpiricalTestJob`, which makes it: by ``trigger`` or by ``attach``.

    It can be pickled, for example as the result of a task, but it leaves the credentials behind:
    on the other side, ``attach`` the job to its ``run_id``.

    Args:
        credentials: The block with the API key.
        run_id: Database id of the run.
        url: Its page, if known.
        waiting: ``policy``, ``poll_interval``, ``timeout`` and ``expect_commit``, as
            `wait_for_test_run` takes them.
        shared: Whether others may wait for the run, too: then a cancelled flow run leaves it
            alone; default False.
    """

    def __init__(
        self,
        credentials: EmpiricalCredentials,
        run_id: int,
        *,
        url: str | None,
        waiting: dict[str, Any],
        shared: bool = False,
    ) -> None:
        self._credentials: EmpiricalCredentials | None = credentials
        self._run_id = run_id
        self._url = url
        self._waiting = waiting
        self._shared = shared
        self._verdict: VerdictDict | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(run_id={self._run_id}, url={self._url!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_credentials": None}

    @property
    def run_id(self) -> int:
        """Database id of the run."""
        return self._run_id

    def _known(self) -> EmpiricalCredentials:
        if self._credentials is None:
            raise EmpiricalError(
                f"This handle on Empirical test run {self._run_id} comes from another process, and "
                f"its credentials were left there: use EmpiricalTestJob.attach({self._run_id}).",
                run_id=self._run_id,
            )
        return self._credentials

    # The gate

    def wait_for_completion(  # type: ignore[override]
        self,
        *,
        cancel_on_cancellation: bool | None = None,
        report_path: Destination | None = None,
    ) -> None:
        """Wait until the run has finished, by the task `wait_for_test_run`; red raises.

        Args:
            cancel_on_cancellation: Whether a person's cancel of the flow run cancels the test
                run; default: yes, unless it was started with a ``key``, as others may wait for it.
            report_path: Where to write the report on the verdict, as for `wait_for_test_run`; it
                belongs to this run, so the block does not say it.

        Raises:
            GateClosedError: The gate stays closed; `fetch_result` gives the verdict all the same.
            ReportNotWrittenError: The gate is open, and the report is not there.
            EmpiricalError: Whatever else `wait_for_test_run` raises.
        """
        from empirical_provider.prefect.gate import wait_for_test_run

        with self._remembering():
            self._verdict = wait_for_test_run(
                **self._arguments(cancel_on_cancellation, report_path)
            )

    async def await_for_completion(
        self,
        *,
        cancel_on_cancellation: bool | None = None,
        report_path: Destination | None = None,
    ) -> None:
        """Do what `wait_for_completion` does, for use with ``await``."""
        from empirical_provider.prefect.gate import await_for_test_run

        with self._remembering():
            self._verdict = await await_for_test_run(
                **self._arguments(cancel_on_cancellation, report_path)
            )

    def fetch_result(self) -> VerdictDict:  # type: ignore[override]
        """Return the verdict as plain data, also a red one: this does not close the gate.

        Without a wait before, the run is read once.

        Raises:
            EmpiricalError: The run has not finished, or could not be read.
        """
        from empirical_provider.expected_commit import find_commit  # light until used

        if self._verdict is None:
            with self._known().get_client() as client:
                run = client.get_test_run(self._run_id)
                expected = self._waiting["expect_commit"]
                self._judge(find_commit(client, run, expected, retry_for=None))
        return self._told()

    async def afetch_result(self) -> VerdictDict:
        """Do what `fetch_result` does, for use with ``await``."""
        from empirical_provider.expected_commit import afind_commit  # as above

        if self._verdict is None:
            async with self._known().get_async_client() as client:
                run = await client.get_test_run(self._run_id)
                expected = self._waiting["expect_commit"]
                self._judge(await afind_commit(client, run, expected, retry_for=None))
        return self._told()

    # The run

    def status(self) -> str:
        """Read the run and return its state, such as ``started`` or ``ended``."""
        with self._known().get_client() as client:
            return str(client.get_test_run(self._run_id).state)

    async def astatus(self) -> str:
        """Do what `status` does, for use with ``await``."""
        async with self._known().get_async_client() as client:
            return str((await client.get_test_run(self._run_id)).state)

    def url(self) -> str | None:
        """Return the run's page, which is looked up if it is not known yet; None if in vain."""
        if self._url is None:
            with self._known().get_client() as client:
                self._url = client.find_url(self._unread()).url
        return self._url

    async def aurl(self) -> str | None:
        """Do what `url` does, for use with ``await``."""
        if self._url is None:
            async with self._known().get_async_client() as client:
                self._url = (await client.find_url(self._unread())).url
        return self._url

    def cancel(self) -> bool:
        """Ask the service to cancel the run, which takes a while; return False if it had finished.

        Raises:
            EmpiricalError: The service could not be asked.
        """
        try:
            with self._known().get_client() as client:
                client.cancel_test_run(self._run_id)
        except AlreadyFinishedError:
            return False
        return True

    async def acancel(self) -> bool:
        """Do what `cancel` does, for use with ``await``."""
        try:
            async with self._known().get_async_client() as client:
                await client.cancel_test_run(self._run_id)
        except AlreadyFinishedError:
            return False
        return True

    # What both forms share

    def _arguments(self, cancel: bool | None, report_path: Destination | None) -> dict[str, Any]:
        return {
            "credentials": self._known(),
            "test_run_id": self._run_id,
            "cancel_on_cancellation": not self._shared if cancel is None else cancel,
            "report_path": report_path,
            **self._waiting,
        }

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Keep a verdict that is in an error."""
        try:
            yield
        except (GateClosedError, ReportNotWrittenError) as error:
            self._verdict = error.verdict or self._verdict
            raise

    def _judge(self, run: TestRun) -> None:
        from empirical_provider.policy import GatePolicy
        from empirical_provider.verdict import judge

        if not run.state.is_terminal:
            raise EmpiricalError(
                f"Empirical test run {run.id} is {run.state}: there is no verdict yet. Call "
                f"wait_for_completion first.",
                run_id=run.id,
                run_url=run.url,
            )
        policy, expected = GatePolicy.of(self._waiting["policy"]), self._waiting["expect_commit"]
        self._verdict = judge(run, policy, expect_commit=expected).as_dict()

    def _told(self) -> VerdictDict:
        return cast("VerdictDict", dict(self._verdict or {}))

    def _unread(self) -> TestRun:
        from empirical_provider.models import TestRun, TestRunState

        return TestRun(id=self._run_id, state=TestRunState("unknown"))
