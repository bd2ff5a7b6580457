"""The block that holds what to run, and the handle on a run that it gives.

Both call the tasks, so that a job's run is shown, guarded and taken over by a retry of the flow
like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from prefect.blocks.abstract import JobBlock
from pydantic import Field, HttpUrl, model_validator

from empirical_provider import checks
from empirical_provider.hiding import hidden_overrides
from empirical_provider.prefect.blocks import EmpiricalBlock
from empirical_provider.prefect.credentials import EmpiricalCredentials

if TYPE_CHECKING:
    from empirical_provider.models import Build, Concurrency
    from empirical_provider.prefect.job_run import EmpiricalTestJobRun
    from empirical_provider.prefect.tasks import Overrides

__all__ = ["AfterRed", "EmpiricalTestJob"]

AfterRed = Literal["fail", "rerun_failed", "rerun_all"]


class EmpiricalTestJob(EmpiricalBlock, JobBlock):  # type: ignore[type-arg]  # JobBlock[...] registers a block
    """What to run on Empirical, and when a release may go on.

    Values are checked when the block is made or loaded; a field that does not exist is refused.

    Attributes:
        credentials: The block with the API key. It is stored by reference if it is a saved one.
        environment: Slug of the environment to test.
        tags: Only tests that match these tags run; default: all.
        policy: What to do about each outcome, the fields of a `GatePolicy`; by default everything
            but passed fails.
        poll_interval: Seconds between two looks at a run; default 10.
        timeout: Seconds after which to stop waiting for a run; default 7200. The run goes on.
        key_in_environment: Whether the key of a run travels in the environment of its tests, too,
            as ``EMPIRICAL_TRIGGER_KEY``; default True. The key itself belongs to a release, so it
            is given to `trigger`.
        on_retry_after_red: What a retry of the flow makes of red tests: ``fail``, the default,
            takes them over, ``rerun_failed`` re-runs those that failed, ``rerun_all`` all.

    Raises:
        pydantic.ValidationError: A value is not valid, or a field is not known.

    Example:
        Load a saved job, start it, and go on only if its tests passed:

        ```python
        from empirical_provider.prefect import EmpiricalTestJob

        job = EmpiricalTestJob.load("BLOCK_NAME")
        run = job.trigger(build={"commit": "4f0c2d1"})
        run.wait_for_completion()
        verdict = run.fetch_result()
        ```
    """

    _block_type_name: ClassVar[str | None] = "Empirical Test Job"
    _block_type_slug: ClassVar[str | None] = "empirical-test-job"
    _description: ClassVar[str | None] = "What to run on Empirical, and when a release may go on."
    _logo_url: ClassVar[HttpUrl | None] = EmpiricalCredentials._logo_url  # noqa: SLF001
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.empirical.run")

    credentials: EmpiricalCredentials = Field(description="The block with the API key.")
    environment: str = Field(description="Slug of the environment to test.")
    tags: list[str] | None = Field(
        default=None, description="Only tests that match these tags run; all if left empty."
    )
    policy: dict[str, Any] | None = Field(
        default=None,
        description=(
            "What to do about each outcome (fail, skip or pass), and min_tests, max_flaky and "
            "count_snoozed_failures; if left empty everything but passed fails."
        ),
    )
    poll_interval: float = Field(default=10.0, description="Seconds between two looks at a run.")
    timeout: float = Field(
        default=7200.0, description="Seconds after which to stop waiting for a run."
    )
    key_in_environment: bool = Field(
        default=True,
        description=(
            "Whether the key of a run travels in the environment of its tests, too, as "
            "EMPIRICAL_TRIGGER_KEY."
        ),
    )
    on_retry_after_red: AfterRed = Field(
        default="fail",
        description=(
            "What a retry of the flow makes of red tests: fail takes them over, rerun_failed "
            "re-runs those that failed, rerun_all all."
        ),
    )

    @model_validator(mode="after")
    def _refuse_bad_values(self) -> Self:
        from empirical_provider.wait_options import WaitOptions

        with self._located():
            checks.line("environment", self.environment)
            if self.tags:  # a form gives an empty list for none
                checks.list_of_lines("tags", self.tags)
            WaitOptions(**self._waiting())
        return self

    def _waiting(self, build: Any = None) -> dict[str, Any]:
        from empirical_provider.wait_options import commit_to_expect

        return {
            "policy": self.policy,
            "poll_interval": self.poll_interval,
            "timeout": self.timeout,
            "expect_commit": commit_to_expect(given=True, build=build),
        }

    def _request(self, changes: dict[str, Any]) -> dict[str, Any]:
        self._waiting(changes.get("build"))  # checked before anything is started
        saved = {
            "environment": self.environment,
            "tags": self.tags or None,
            "key_in_environment": self.key_in_environment,
            "on_retry_after_red": self.on_retry_after_red,
        }
        return {"credentials": self.credentials, **saved, **changes, "policy": self.policy}

    def _handle(
        self, run_id: int, url: str | None, *, shared: bool = False, build: Any = None
    ) -> EmpiricalTestJobRun:
        from empirical_provider.prefect.job_run import EmpiricalTestJobRun

        waiting = self._waiting(build)
        return EmpiricalTestJobRun(
            self.credentials, run_id, url=url, waiting=waiting, shared=shared
        )

    def _started(self, run: dict[str, Any], changes: dict[str, Any]) -> EmpiricalTestJobRun:
        from empirical_provider.prefect.arguments import masking

        shared, build = changes.get("key") is not None, changes.get("build")
        handle = self._handle(run["id"], run["url"], shared=shared, build=build)
        handle._credentials = masking(self._request(changes))  # noqa: SLF001  # our own
        return handle

    def trigger(  # type: ignore[override]
        self,
        *,
        environment: str | None = None,
        build: Build | Mapping[str, str] | None = None,
        branch: str | None = None,
        metadata: Mapping[str, str | int | float] | None = None,
        environment_variables_overrides: Overrides | None = None,
        tags: Iterable[str] | None = None,
        test_case_ids: Iterable[str] | None = None,
        total_shards: int | None = None,
        send_notifications: bool | None = None,
        github_actor: str | None = None,
        concurrency: Concurrency | Mapping[str, str] | Literal[False] | None = None,
        add_context_metadata: bool = True,
        key: str | None = None,
        key_in_environment: bool | None = None,
        on_retry_after_red: AfterRed | None = None,
    ) -> EmpiricalTestJobRun:
        """Start a test run, by the task `trigger_test_run`; it does not wait for it.

        The arguments say what is special about this run, as for the task; what is not given is as
        in the block. Where the build names a commit, waiting for the run expects that it has tested
        that one.

        Args:
            environment: Slug of the environment to test; default: that of the block.
            build: The application build under test.
            branch: Branch of the test repository; not together with ``build``.
            metadata: Shown with the run.
            environment_variables_overrides: Environment variables for the tests.
            tags: Only tests that match these tags run; default: those of the block.
            test_case_ids: Only these tests run.
            total_shards: Number of shards, at least 1.
            send_notifications: Whether Empirical sends its notifications.
            github_actor: GitHub login that is shown as the user who started the run.
            concurrency: A `Concurrency` or a mapping of its fields; False: out of the shared queue.
            add_context_metadata: Whether to add where the run comes from to the metadata.
            key: What the run is for, such as a release id.
            key_in_environment: Whether the key travels in the environment of the tests, too;
                default: as in the block.
            on_retry_after_red: What a retry of the flow makes of failed tests; default: as in the
                block.

        Returns:
            A handle on the run.

        Raises:
            EmpiricalError: Whatever `trigger_test_run` raises.
        """
        from empirical_provider.prefect.tasks import trigger_test_run

        environment_variables_overrides = hidden_overrides(environment_variables_overrides)
        changes = _given(locals())
        return self._started(trigger_test_run(**self._request(changes)), changes)

    async def atrigger(
        self,
        *,
        environment: str | None = None,
        build: Build | Mapping[str, str] | None = None,
        branch: str | None = None,
        metadata: Mapping[str, str | int | float] | None = None,
        environment_variables_overrides: Overrides | None = None,
        tags: Iterable[str] | None = None,
        test_case_ids: Iterable[str] | None = None,
        total_shards: int | None = None,
        send_notifications: bool | None = None,
        github_actor: str | None = None,
        concurrency: Concurrency | Mapping[str, str] | Literal[False] | None = None,
        add_context_metadata: bool = True,
        key: str | None = None,
        key_in_environment: bool | None = None,
        on_retry_after_red: AfterRed | None = None,
    ) -> EmpiricalTestJobRun:
        """Do what `trigger` does, for use with ``await``."""
        from empirical_provider.prefect.tasks import atrigger_test_run

        environment_variables_overrides = hidden_overrides(environment_variables_overrides)
        changes = _given(locals())
        return self._started(await atrigger_test_run(**self._request(changes)), changes)

    def attach(self, run_id: int | str) -> EmpiricalTestJobRun:
        """Return a handle on a run that was started before, here or elsewhere.

        Args:
            run_id: Database id of the run: 456, or "456".

        Raises:
            NotFoundError: There is no such run.
            EmpiricalError: It could not be read.
        """
        from empirical_provider.prefect.arguments import run_id_of

        with self.credentials.get_client() as client:
            run = client.get_test_run(run_id_of(run_id))
        return self._handle(run.id, run.url)

    async def aattach(self, run_id: int | str) -> EmpiricalTestJobRun:
        """Do what `attach` does, for use with ``await``."""
        from empirical_provider.prefect.arguments import run_id_of

        async with self.credentials.get_async_client() as client:
            run = await client.get_test_run(run_id_of(run_id))
        return self._handle(run.id, run.url)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a trigger that say something."""
    others = {"self", "trigger_test_run", "atrigger_test_run"}
    return {n: each for n, each in arguments.items() if n not in others and each is not None}
