"""The preflight operator: what it checks, and that a release does not happen where it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import AuthenticationError
from empirical_provider.airflow.operators import EmpiricalPreflightOperator
from tests.airflow.standins import AirflowFailException, TaskInstance
from tests.airflow.test_examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

pytestmark = pytest.mark.usefixtures("connection")


def look(**fields: Any) -> dict[str, Any]:
    task = EmpiricalPreflightOperator(task_id="look", **fields)
    return task.execute({"ti": TaskInstance()})


def test_it_returns_what_was_found(empirical: Emulator) -> None:
    """The environment is handed on as plain data, with what could not be checked."""
    found = look(environment="staging", branch="main", tags=["@smoke"])
    assert (found["environment"]["slug"], found["unchecked"]) == ("staging", ["branch"])
    assert empirical.runs == []


def test_the_environment_may_be_the_connections(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that names none checks the default of the connection."""
    fields = {**connection, "extra": {"environment": "production"}}
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(fields))
    assert look()["environment"]["slug"] == "production"


def test_what_is_wrong_fails_for_good() -> None:
    """No retry mends a misspelt environment or tag."""
    with pytest.raises(AirflowFailException, match=r"Did you mean 'staging'.*'@x', which no test"):
        look(environment="stagin", tags=["@x"])


def test_a_dead_key_fails_for_good(empirical: Emulator, api_key: str) -> None:
    """A key that is not accepted is found before the release."""
    empirical.revoke(api_key)
    with pytest.raises(AirflowFailException) as caught:
        look(environment="staging")
    assert isinstance(caught.value.__cause__, AuthenticationError)


@pytest.mark.slow
@pytest.mark.swift
def test_nothing_is_released_to_an_unknown_environment(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """In the example a misspelt environment fails before the release, and nothing is triggered."""
    run = run_dag("preflight", EXAMPLES, conf={"environment": "stagging"}, may_fail=True)
    assert (run.task("look")[0], run.task("release")[0]) == ("failed", "upstream_failed")
    assert "Did you mean 'staging'?" in run.output
    assert "trigger" not in [each.endpoint for each in empirical.requests]


@pytest.mark.slow
@pytest.mark.swift
def test_what_can_be_tested_is_released(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """In the example a known environment passes, and the gate follows the release."""
    run = run_dag("preflight", EXAMPLES)
    assert run.states == {"success"}
    assert [each.environment for each in empirical.runs] == ["staging"]
