"""The sensor on its own; `test_gate` has what it shares with the operator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, InvalidRequestError, TestRunRequest
from empirical_provider.airflow.exceptions import EmpiricalWaitTimedOutError
from tests.airflow.standins import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    TaskInstance,
    context_of,
    run,
    sensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once")

WAYS = ({"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True})


class LateTaskInstance(TaskInstance):
    """Stands in for a task that was rescheduled first a while ago, as Airflow 3 tells it."""

    waited = timedelta(seconds=100)

    def get_first_reschedule_date(self, _: Any) -> datetime:
        return datetime.now(UTC) - self.waited


@pytest.fixture
def start(empirical: Emulator, api_key: str) -> Callable[..., int]:
    """Return a function that starts a run in staging and returns its id."""

    def begin(outcome: str) -> int:
        empirical.script("staging", outcome)
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            return client.trigger(TestRunRequest(environment="staging")).id

    return begin


@pytest.mark.parametrize(
    "given", ["", "None", " 456", "456/../1", "-1", "0", "4.0", -1, 0, None, True, 4.0, [456]]
)
def test_only_an_id_is_an_id(given: Any, empirical: Emulator) -> None:
    """What a template renders to when the run is missing is refused by name; nothing is asked."""
    with pytest.raises(AirflowFailException, match="test_run_id must be the id of a test run"):
        run(sensor(test_run_id=given), TaskInstance())
    assert empirical.requests == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outcome", ["failed", "error", "stuck"])
def test_soft_fail_skips_instead_of_failing(
    outcome: str, way: dict[str, Any], start: Callable[..., int]
) -> None:
    """Whatever closes the gate skips the task, in every mode, and the reason is told."""
    ti = TaskInstance()
    task = sensor(
        test_run_id=start(outcome),
        soft_fail=True,
        timeout=0.2 if outcome == "stuck" else 60,
        **way,
    )
    with pytest.raises(AirflowSkipException, match="Skipped instead of failed: Empirical test run"):
        run(task, ti)
    assert ti.xcoms["verdict"]["decision"] == "fail"


@pytest.mark.parametrize("way", WAYS)
def test_soft_fail_skips_also_where_there_is_no_verdict(
    way: dict[str, Any], start: Callable[..., int], empirical: Emulator
) -> None:
    """A refused key skips a soft sensor, as any failure of Airflow's own sensors does."""
    task = sensor(test_run_id=start("passed"), soft_fail=True, timeout=1, **way)
    empirical.fault("get_test_run", "status", status=401, times=None)
    with pytest.raises(AirflowSkipException, match="answered 401"):
        run(task, TaskInstance())


def test_a_rescheduled_sensor_frees_the_worker_between_two_looks(
    start: Callable[..., int], empirical: Emulator
) -> None:
    """Each start takes one look, and the next is due after the interval, give or take a tenth."""
    task = sensor(test_run_id=start("stuck"), mode="reschedule", poke_interval=60)
    with pytest.raises(AirflowRescheduleException) as error:
        task.execute(context_of(TaskInstance()))
    pause = error.value.reschedule_date - datetime.now(UTC)
    assert timedelta(seconds=50) < pause <= timedelta(seconds=66)
    assert [each.endpoint for each in empirical.requests].count("get_test_run") == 1


def test_a_rescheduled_sensor_counts_from_its_first_look(start: Callable[..., int]) -> None:
    """The time-out spans all looks, whichever process takes them."""
    task = sensor(test_run_id=start("stuck"), mode="reschedule", timeout=timedelta(seconds=90))
    with pytest.raises(EmpiricalWaitTimedOutError, match="after 100 s, and the time-out is 90 s"):
        task.execute(context_of(LateTaskInstance()))


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_not_found_has_a_minute_in_every_mode(
    way: dict[str, Any],
    start: Callable[..., int],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """404 is survived for a minute, and fails it for good after that.

    A sensor that is rescheduled remembers no poll: for it, the end is its own timeout.
    """
    run_id = start("passed")
    empirical.fault("get_test_run", "status", status=404, times=2)
    with monkeypatch.context() as patch:
        patch.setattr("empirical_provider.wait._GRACE", 60.0)  # the real one
        assert run(sensor(test_run_id=run_id, **way), TaskInstance()) == run_id
    ends: type[Exception] = AirflowFailException
    timeout = 7200
    if way == {"mode": "reschedule"}:
        ends, timeout = EmpiricalWaitTimedOutError, 90
    with pytest.raises(ends, match="answered 404"):
        run(sensor(test_run_id=run_id + 1, timeout=timeout, **way), LateTaskInstance())


def test_execution_timeout_limits_each_look_of_a_rescheduled_sensor(
    start: Callable[..., int],
) -> None:
    """As with Airflow's own sensors, execution_timeout does not span the reschedules."""
    task = sensor(
        test_run_id=start("stuck"), mode="reschedule", execution_timeout=timedelta(seconds=10)
    )
    with pytest.raises(AirflowRescheduleException):
        task.execute(context_of(LateTaskInstance()))


@pytest.mark.parametrize("name", ["exponential_backoff", "max_wait", "silent_fail"])
def test_what_would_have_no_effect_is_refused(name: str) -> None:
    """An option of Airflow's sensors that this one cannot honour is not silently kept."""
    with pytest.raises(InvalidRequestError, match=f"{name} has no effect"):
        sensor(test_run_id=1, **{name: True})


def test_a_limit_of_no_time_is_refused() -> None:
    """Zero seconds to start within are no way to say "any time"."""
    with pytest.raises(InvalidRequestError, match="start_timeout must be a number above 0, not 0"):
        sensor(test_run_id=1, start_timeout=0)
