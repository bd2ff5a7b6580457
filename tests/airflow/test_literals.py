"""Mistakes that stand in a DAG file are found when it is parsed; what is rendered later, then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from empirical_provider import Build, Concurrency, EnvironmentVariable, InvalidRequestError
from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalPreflightOperator,
    EmpiricalTriggerTestRunOperator,
)
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor

WITHOUT_A_WAIT = "without wait_for_completion=True: the task would not wait"

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"build": {"comit": "c0ffee0"}}, "build has the unknown key 'comit'; known are url, branch, "),
    ({"build": {"url": "staging.example.com"}}, "build.url must be an http or https URL"),
    ({"build": "c0ffee0"}, "build must be a mapping, not str"),
    ({"build": {"commit": 1.5}}, "build.commit must be a text, not a float"),
    ({"build": {"commit": "c0ffee0"}, "branch": "main"}, "build and branch cannot be given toget"),
    ({"build": {"commit": "{{ x }}"}, "branch": "{{ y }}"}, "build and branch cannot be given tog"),
    ({"tags": "@smoke"}, "tags must be a list of strings, not str"),
    ({"tags": [""]}, "tags[0] must be a non-empty string, not an empty str"),
    ({"test_case_ids": {"a": 1}}, "test_case_ids must be a list of strings, not dict"),
    ({"total_shards": 0}, "total_shards must be at least 1, not 0"),
    ({"total_shards": "two"}, "total_shards must be an integer of at least 1, not str"),
    ({"total_shards": True}, "total_shards must be an integer of at least 1, not bool"),
    ({"send_notifications": "no"}, "send_notifications must be True or False, not str"),
    ({"metadata": {"ticket": {"id": 1}}}, "metadata['ticket'] must be a string or a number, not"),
    ({"metadata": "release 1.4"}, "metadata must be a mapping, not str"),
    ({"concurrency": {"group": "a", "on_conflict": "fail"}}, "concurrency.on_conflict must be can"),
    ({"concurrency": {"on_conflict": "wait"}}, "concurrency.group must be a non-empty string, not"),
    ({"environment": ""}, "environment must be a non-empty string, not an empty str"),
    ({"environment": "None"}, "environment is the text 'None': its template finds nothing"),
    ({"tags": ["@a", "None"]}, "tags[1] is the text 'None'"),
    ({"environment": "a\nb"}, "environment must be one line without control characters"),
    ({"github_actor": True}, "github_actor must be a non-empty string, not bool"),
    ({"environment_variables_overrides": {"A": None}}, ".value (of 'A') must be a string, not Non"),
    ({"environment_variables_overrides": [{"name": "A"}]}, "environment_variables_overrides[0] la"),
    ({"expect_commit": "c0ffee", "wait_for_completion": True}, "at least 7 characters of a commi"),
    ({"wait_for_completion": None}, "wait_for_completion must be True or False, not None"),
    ({"wait_for_completion": "true"}, "wait_for_completion must be True or False, not str"),
    ({"cancel_on_kill": "false"}, "cancel_on_kill must be True or False, not str"),
    ({"cancel_on_timeout": 0}, "cancel_on_timeout must be True or False, not int"),
    ({"add_context_metadata": "no"}, "add_context_metadata must be True or False, not str"),
    ({"deferrable": "yes"}, "deferrable must be True or False, not str"),
    ({"poll_interval": timedelta(0)}, "poll_interval must be a number above 0, not 0.0"),
    ({"timeout": "1h"}, "timeout must be a number above 0, not str"),
    ({"deferrable": True}, f"deferrable {WITHOUT_A_WAIT}"),
    ({"policy": {"min_tests": 5}}, f"policy {WITHOUT_A_WAIT}"),
    ({"timeout": 60, "start_timeout": 5}, f"timeout and start_timeout {WITHOUT_A_WAIT}"),
    ({"expect_commit": "c0ffee0"}, f"expect_commit {WITHOUT_A_WAIT}"),
    ({"poll_interval": 5}, f"poll_interval {WITHOUT_A_WAIT}"),
    ({"cancel_on_timeout": True}, f"cancel_on_timeout {WITHOUT_A_WAIT}"),
    ({"report_path": "e2e.xml"}, f"report_path {WITHOUT_A_WAIT}"),
]

WELL_MEANT: list[dict[str, Any]] = [
    {},
    {"environment": None, "build": None, "branch": None},
    {"build": {}, "branch": "main"},
    {"build": {"commit": "{{ params.commit }}", "version": None}},
    {"build": "{{ ti.xcom_pull('deploy') }}"},
    {"build": '{"commit": "c0ffee0"}'},
    {"build": Build(commit="{{ params.commit }}")},
    {"build": {"version": 14}},
    {"tags": ["@{{ params.who }}"]},
    {"tags": "{{ params.tags }}"},
    {"tags": '["@smoke"]'},
    {"tags": ()},
    {"total_shards": "{{ params.shards }}"},
    {"total_shards": "3"},
    {"send_notifications": "False"},
    {"metadata": {"ticket": 7, "weight": 0.5}},
    {"metadata": lambda context, jinja_env: {}},  # noqa: ARG005  # Airflow calls it so
    {"concurrency": False},
    {"concurrency": Concurrency(group="{{ ds }}", on_conflict="wait")},
    {"environment_variables_overrides": [EnvironmentVariable(name="A", value="{{ ds }}")]},
    {"environment_variables_overrides": {"A": ""}},
    {"wait_for_completion": True, "timeout": timedelta(hours=1), "poll_interval": 5},
    {"wait_for_completion": True, "expect_commit": "{{ params.commit }}"},
    {
        "wait_for_completion": True,
        "policy": {"min_tests": 5},
        "start_timeout": timedelta(minutes=1),
    },
    {"on_retry_after_red": "rerun_all"},
    {"expect_commit": False, "deferrable": False, "build": {"commit": "c0ffee0"}},
    {"expect_commit": True, "policy": {}, "timeout": 7200, "deferrable": None},
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES)
def test_a_mistake_is_found_when_the_dag_is_parsed(fields: dict[str, Any], message: str) -> None:
    """What cannot be meant is refused as the operator is made, and the field is named."""
    with pytest.raises(InvalidRequestError) as error:
        EmpiricalTriggerTestRunOperator(task_id="gate", **{"environment": "staging", **fields})
    assert message in str(error.value)


@pytest.mark.parametrize("fields", WELL_MEANT)
def test_what_may_be_meant_waits_until_it_is_rendered(fields: dict[str, Any]) -> None:
    """Templates, callables, and values that become right once they are rendered are accepted."""
    EmpiricalTriggerTestRunOperator(task_id="gate", **{"environment": "staging", **fields})


def test_times_are_seconds_or_timedeltas() -> None:
    """A timedelta is the same as its seconds, wherever seconds are taken."""
    gate = EmpiricalTriggerTestRunOperator(
        task_id="gate",
        environment="staging",
        wait_for_completion=True,
        timeout=timedelta(hours=1),
        start_timeout=timedelta(minutes=2),
        poll_interval=timedelta(seconds=30),
    )
    assert (gate.timeout, gate.start_timeout, gate.poll_interval) == (3600.0, 120.0, 30.0)
    sensor = EmpiricalTestRunSensor(
        task_id="sensor",
        test_run_id=1,
        timeout=timedelta(hours=1),
        start_timeout=timedelta(hours=2),
    )
    assert (sensor.timeout, sensor.start_timeout) == (3600.0, 7200.0)


def test_the_other_operators_check_what_is_written_out() -> None:
    """The preflight takes what the gate takes; sensor and branch check the commit."""
    for fields, message in MISTAKES[:7]:
        with pytest.raises(InvalidRequestError) as error:
            EmpiricalPreflightOperator(task_id="preflight", environment="staging", **fields)
        assert message in str(error.value)
    with pytest.raises(InvalidRequestError, match="at least 7 characters"):
        EmpiricalTestRunSensor(task_id="sensor", test_run_id=1, expect_commit="c0ffee")
    with pytest.raises(InvalidRequestError, match="at least 7 characters"):
        EmpiricalBranchOperator(task_id="branch", follow_if_passed="a", expect_commit="c0ffee")


def test_what_default_args_give_is_not_refused() -> None:
    """Default arguments are for gates beside: they have no effect here, and the log says so."""
    given = {"policy": {"min_tests": 5}, "deferrable": True}
    EmpiricalTriggerTestRunOperator(task_id="start", environment="staging", default_args=given)
    with pytest.raises(InvalidRequestError, match=f"^timeout {WITHOUT_A_WAIT}"):
        EmpiricalTriggerTestRunOperator(
            task_id="start", environment="staging", default_args=given, timeout=60
        )
