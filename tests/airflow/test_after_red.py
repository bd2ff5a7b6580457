"""After failed tests: a retry, or a clear, may re-run only what has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider.airflow import exceptions as host
from tests.airflow.standins import AirflowFailException, Store
from tests.airflow.tries import RETRIES, attempt, first_try, is_complete, waits

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once", "telling")

RERUNS = pytest.mark.parametrize(
    ("after_red", "only_failed"), [("rerun_failed", True), ("rerun_all", False)]
)


def red(ti: Any, mode: dict[str, Any], **more: Any) -> int:
    """Run a try whose tests fail; return the run's id."""
    if not waits(mode):
        return int(attempt(ti, mode, **more))
    with pytest.raises(host.EmpiricalTestsFailedRetryError) as error:
        attempt(ti, mode, **more)
    assert not isinstance(error.value, AirflowFailException)
    assert error.value.run_id is not None
    return error.value.run_id


def finish(empirical: Emulator) -> None:
    """End all runs the way they were scripted."""
    for each in empirical.runs:
        if each.state in {"queued", "started"}:
            empirical.set_state(each.id, "ended")


@RERUNS
def test_a_retry_reruns_what_failed(  # fixtures, by name
    after_red: str,
    only_failed: bool,
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """Red tests are left to Airflow's retries, each of which re-runs the run before, once."""
    empirical.script("staging", "failed", runs=2)
    fields = {"on_retry_after_red": after_red}
    ti = first_try()
    first = red(ti, mode, fields=fields, **host_has)
    finish(empirical)
    second = red(ti := ti.retried(), mode, fields=fields, **host_has)
    finish(empirical)
    third = attempt(ti := ti.retried(), mode, fields=fields, **host_has)
    assert [each.id for each in empirical.runs] == [first, second, third]
    assert [each.rerun_source_id for each in empirical.runs] == [None, first, second]
    assert [each.rerun_only_failed for each in empirical.runs[1:]] == [only_failed] * 2
    is_complete(ti, third, mode, "passed")
    if waits(mode):
        assert ti.xcoms["verdict"]["rerun_source_id"] == second


@RERUNS
def test_a_clear_reruns_what_failed_where_the_store_knows(
    after_red: str, only_failed: bool, mode: dict[str, Any], empirical: Emulator
) -> None:
    """A clear after red tests continues the red run too; after green ones it tests afresh."""
    empirical.script("staging", "failed", runs=1)
    fields, store = {"on_retry_after_red": after_red}, Store()
    ti = first_try()
    first = red(ti, mode, fields=fields, task_state_store=store)
    finish(empirical)
    ti = ti.cleared(RETRIES)
    second = attempt(ti, mode, fields=fields, task_state_store=store)
    finish(empirical)
    assert [each.rerun_source_id for each in empirical.runs] == [None, first]
    assert empirical.runs[1].rerun_only_failed is only_failed
    is_complete(ti, second, mode, "passed")
    fresh = attempt(ti.cleared(RETRIES), mode, fields=fields, task_state_store=store)
    assert [each.id for each in empirical.runs] == [first, second, fresh]
    assert empirical.runs[2].rerun_source_id is None


def test_a_clear_without_the_store_tests_afresh(mode: dict[str, Any], empirical: Emulator) -> None:
    """Where nothing is left of the tries before, a clear cannot know of red tests."""
    empirical.script("staging", "failed", runs=1)
    fields = {"on_retry_after_red": "rerun_failed"}
    ti = first_try()
    red(ti, mode, fields=fields)
    attempt(ti.cleared(RETRIES), mode, fields=fields)
    assert [each.rerun_source_id for each in empirical.runs] == [None, None]


def test_other_outcomes_are_not_rerun(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """A run that ended in error makes way for a new one, whatever is done about red tests."""
    empirical.script("staging", "error", runs=1)
    fields = {"on_retry_after_red": "rerun_failed"}
    ti = first_try()
    if waits(mode):
        with pytest.raises(host.EmpiricalRunErroredError):
            attempt(ti, mode, fields=fields, **host_has)
    else:
        empirical.set_state(attempt(ti, mode, fields=fields, **host_has), "error")
    run_id = attempt(ti.retried(), mode, fields=fields, **host_has)
    assert [each.rerun_source_id for each in empirical.runs] == [None, None]
    assert empirical.runs[1].id == run_id
