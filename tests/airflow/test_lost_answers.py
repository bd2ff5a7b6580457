"""Answers that are lost, that say no, or that nobody asks about; and arguments that say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import InvalidRequestError, TriggerOutcomeUnknownError
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from tests.airflow.standins import AirflowFailException, Store
from tests.airflow.tries import attempt, first_try, is_complete

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once", "telling")


def test_without_durable_every_try_starts_a_run(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """Switched off, there is no key in the metadata and nothing in the store, and no adoption."""
    ti = first_try()
    off = {"durable": False, "add_context_metadata": False}
    for each in (ti, ti.retried()):
        attempt(each, mode, fields=off, **host_has)
    assert [each.body.get("metadata") for each in empirical.runs] == [None, None]
    assert host_has.get("task_state_store", Store())._kept == {}


def test_a_refused_request_leaves_nothing_to_look_for(
    mode: dict[str, Any], empirical: Emulator
) -> None:
    """After an answer that says that nothing was started, the retry with a store just starts."""
    empirical.fault("trigger", "status", status=402, message="An invoice is overdue.")
    store, ti = Store(), first_try()
    with pytest.raises(AirflowFailException):
        attempt(ti, mode, task_state_store=store)
    attempt(ti.retried(), mode, task_state_store=store)
    assert [each.endpoint for each in empirical.requests].count("list_test_runs") == 0
    assert len(empirical.runs) == 1


@pytest.mark.parametrize("in_environment", [False, True])
def test_a_lost_answer_is_made_good_where_the_service_tells(
    in_environment: bool,
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """The run is found by its key: in metadata, or in overrides if the user opts in."""
    shown = empirical.behaviour.echo_in_detail - {"metadata"}
    empirical.behave(echo_in_detail=shown if in_environment else shown | {"metadata"})
    empirical.fault("trigger", "drop", when="after")
    ti = first_try()
    fields = {"key_in_environment": in_environment}
    run_id = attempt(ti, mode, fields=fields, **host_has)
    assert [each.id for each in empirical.runs] == [run_id]
    is_complete(ti, run_id, mode, "passed")


def test_what_no_retry_can_tell_burns_none(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """Where the service shows no key, nothing is sent a second time, and no retry sees more."""
    hidden = {"metadata", "environment_variables_overrides"}
    empirical.behave(
        echo_in_list=empirical.behaviour.echo_in_list - hidden,
        echo_in_detail=empirical.behaviour.echo_in_detail - hidden,
    )
    empirical.fault("trigger", "drop", when="after")
    with pytest.raises(AirflowFailException, match="trigger key") as error:
        attempt(first_try(), mode, **host_has)
    assert isinstance(error.value.__cause__, TriggerOutcomeUnknownError)
    assert len(empirical.runs) == 1


def test_what_cannot_be_read_is_looked_up_again_by_a_retry(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """Where the list fails, nothing is sent a second time; a retry may be able to read it."""
    empirical.fault("trigger", "drop", when="after")
    empirical.fault("list_test_runs", "status", status=403, times=2)
    ti = first_try()
    for each in (ti, ti.retried()):
        with pytest.raises(TriggerOutcomeUnknownError, match="trigger key") as error:
            attempt(each, mode, **host_has)
        assert not isinstance(error.value, AirflowFailException)
    last = ti.retried().retried()
    run_id = attempt(last, mode, **host_has)
    assert [each.id for each in empirical.runs] == [run_id]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"durable": 1}, "durable must be True or False, not int"),
        ({"key_in_environment": "yes"}, "key_in_environment must be True or False, not str"),
        (
            {"on_retry_after_red": "rerun"},
            "on_retry_after_red must be fail or rerun_failed or rerun_all, not 'rerun'",
        ),
        ({"durable": False, "key": "1.2.3"}, "key has no effect with durable=False"),
        ({"durable": False, "on_retry_after_red": "rerun_all"}, "on_retry_after_red has no effect"),
        ({"durable": False, "key_in_environment": True}, "key_in_environment has no effect"),
    ],
)
def test_a_bad_argument_is_told_when_the_dag_is_parsed(
    fields: dict[str, Any], message: str
) -> None:
    """What cannot be meant is refused by name before anything is started."""
    with pytest.raises(InvalidRequestError, match=message):
        EmpiricalTriggerTestRunOperator(task_id="e2e", **fields)
