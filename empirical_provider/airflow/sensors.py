"""The sensor: a gate on a run that something else has started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from empirical_provider import checks
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.literals import check_literal_commit
from empirical_provider.airflow.rendered import as_run_id, given_fields
from empirical_provider.airflow.versions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    BaseOperatorLink,
    BaseSensorOperator,
    final,
)
from empirical_provider.airflow.waiting import WaitsForTestRun
from empirical_provider.exceptions import (
    GateClosedError,
    InvalidRequestError,
    ReportNotWrittenError,
)
from empirical_provider.policy import GatePolicy

if TYPE_CHECKING:
    from empirical_provider.airflow.versions import XComArg
    from empirical_provider.destinations import Destination

__all__ = ["EmpiricalTestRunSensor"]

_WITHOUT_EFFECT = ("exponential_backoff", "max_wait", "silent_fail")


class EmpiricalTestRunSensor(WaitsForTestRun, BaseSensorOperator):
    """Wait for a test run that something else has started, and open the gate or not.

    Returns the run's id. XComs: ``verdict`` (a dict: `empirical_provider.Verdict`) and
    ``test_run_url``, as soon as they are known. Events of the task's asset outlets carry
    test_run_id, test_run_url, outcome and counts in their ``extra``. It never cancels the run.

    Looks that fail are survived until the time-out, in every mode; there is a last look then. So
    Airflow's ``silent_fail`` and its backoff have no place here, and are refused.

    Args:
        test_run_id: Database id of the run, a number or a text of digits; templated.
        empirical_conn_id: Id of the connection; default ``empirical_default``; templated.
        mode (str): ``poke`` (hold a worker, the default) or ``reschedule`` (one look for each
            start).
        deferrable: Whether to wait in the triggerer instead of either mode; default: Airflow's
            ``[operators] default_deferrable``.
        poke_interval: Seconds (or timedelta) between two looks, varied by up to a tenth; default
            10. Each look of ``reschedule`` starts a process: choose a minute or more there.
        timeout: Seconds (or timedelta) from the task's start after which to stop waiting; default
            7200. A shorter ``execution_timeout`` counts as for the operator, but not in mode
            ``reschedule``, where Airflow gives it to each look.
        start_timeout: Seconds (or timedelta) within which the run must leave pending and queued;
            default: any.
        expect_commit: The commit that must have been tested, where the service tells which was;
            either may be abbreviated; templated; default: any.
        policy: What the verdict goes by: a `GatePolicy`, or a mapping of its fields; by default
            everything but passed tests closes the gate.
        report_path: Where to write the report on the verdict, as for the operator; templated;
            default: nowhere.
        soft_fail (bool): Whether the task is skipped where it would fail; default False.

    Raises:
        InvalidRequestError: An argument is not valid (when the DAG is parsed).
        GateClosedError: As for the operator, of `empirical_provider.airflow.exceptions`.
        AirflowSkipException: The policy, or ``soft_fail``, skips the task.
        AirflowFailException: There is no such run, or the key is refused, or test_run_id is none.
        ReportNotWrittenError: The gate is open, and the report is not there.
    """

    template_fields: Sequence[str] = (
        "test_run_id",
        "empirical_conn_id",
        "expect_commit",
        "report_path",
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (EmpiricalTestRunLink(),)
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        test_run_id: int | str | XComArg,
        empirical_conn_id: str = "empirical_default",
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 7200.0,
        start_timeout: timedelta | float | None = None,
        expect_commit: str | XComArg | None = None,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        report_path: Destination | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        for name in _WITHOUT_EFFECT:
            if kwargs.get(name):
                raise InvalidRequestError(f"{name} has no effect on this sensor: leave it out.")
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.test_run_id = test_run_id
        self.empirical_conn_id = empirical_conn_id
        self.deferrable = checks.optional(checks.flag, "deferrable", deferrable)
        self.start_timeout = checks.optional(checks.seconds, "start_timeout", start_timeout)
        self.expect_commit = expect_commit
        check_literal_commit(expect_commit)
        self.policy = GatePolicy.of(policy)
        self.report_path = report_path
        self._given = given_fields(self)

    def execute(self, context: Any) -> int:
        """Wait for the run; return its id."""
        with self._softly():
            with final():
                self._awaited(context)
                self._check_fields()
            return self._gate(context).run_id

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Go on after a deferral; see the operator's."""
        with self._softly():
            return super().resume_execution(next_method, next_kwargs, context)

    @contextmanager
    def _softly(self) -> Iterator[None]:
        """Skip instead of failing, if that was asked for."""
        try:
            yield
        except (GateClosedError, ReportNotWrittenError, AirflowFailException) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise

    def _instead_of_sleeping(self, context: Any) -> Callable[[float], Any]:
        if self.reschedule and not self._defers():
            return self._reschedule
        return super()._instead_of_sleeping(context)

    def _reschedule(self, pause: float) -> None:
        at = datetime.now(UTC) + timedelta(seconds=pause)
        raise AirflowRescheduleException(at)  # type: ignore[no-untyped-call]  # Airflow's has none

    def _time_out(self) -> float:
        return self.timeout if self.reschedule and not self._defers() else super()._time_out()

    def _awaited(self, context: Any) -> int:  # noqa: ARG002  # the mixin's signature
        return as_run_id(self.test_run_id)

    def _interval(self) -> float:
        return self.poke_interval
