"""The operator on its own: what it makes of odd values and of errors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import InvalidRequestError, RateLimitedError, ServerError, TestRunRequest
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.rendered import (
    HiddenValues,
    as_boolean,
    as_field,
    as_integer,
    as_number,
)
from empirical_provider.airflow.versions import find
from tests.airflow.standins import TaskInstance, context_of

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

FAIL_FOR_GOOD = find(
    "airflow.sdk.exceptions:AirflowFailException", "airflow.exceptions:AirflowFailException"
)


class Watched(TaskInstance):
    """Records in which order things are pushed."""

    map_index = 2

    def __init__(self, **numbers: int) -> None:
        super().__init__(**numbers)
        self.pushed: list[tuple[str, Any]] = []

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, value))


def execute(**fields: Any) -> tuple[Any, Watched]:
    ti = Watched()
    operator = EmpiricalTriggerTestRunOperator(task_id="e2e", **fields)
    return operator.execute(context_of(ti)), ti


def test_it_takes_every_field_of_a_request_by_its_name() -> None:
    """The operator has a templated parameter for each field of a request, keyword-only."""
    parameters = inspect.signature(EmpiricalTriggerTestRunOperator.__init__).parameters
    for name in inspect.signature(TestRunRequest).parameters:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert name in EmpiricalTriggerTestRunOperator.template_fields


@pytest.mark.usefixtures("connection")
def test_the_id_is_pushed_before_the_page_is_looked_up(empirical: Emulator) -> None:
    """The id is in XCom before anything else can go wrong, and the link as soon as it is known."""
    result, ti = execute(environment="staging")
    keys = [key for key, _ in ti.pushed]
    assert keys[:2] == ["test_run_id", "test_run"]
    assert keys[2:] == ["test_run_id", "test_run", "test_run_url", "_link_EmpiricalTestRunLink"]
    assert result == dict(ti.pushed)["test_run_id"] == empirical.runs[0].id


@pytest.mark.usefixtures("connection")
def test_without_a_page_there_is_no_url(empirical: Emulator) -> None:
    """A run whose page is not known pushes no URL rather than a wrong one."""
    for endpoint in ("get_project", "get_test_run"):
        empirical.fault(endpoint, "status", status=404)
    _, ti = execute(environment="staging")
    assert {key for key, _ in ti.pushed} == {"test_run_id", "test_run"}


@pytest.mark.usefixtures("connection")
def test_what_airflow_does_not_know_is_left_out_of_the_metadata(empirical: Emulator) -> None:
    """The metadata holds what the context tells and no empty values, and can be turned off."""
    execute(environment="staging", metadata={"n": 1}, durable=False)
    execute(environment="staging", add_context_metadata=False, durable=False)
    assert [run.body.get("metadata") for run in empirical.runs] == [
        {
            "dag_id": "release",
            "run_id": "manual__1",
            "task_id": "e2e",
            "map_index": 2,
            "task_url": "http://localhost:8080/dags/release/runs/manual__1/tasks/e2e/mapped/2",
            "n": 1,
        },
        None,
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "environment must be a non-empty string, not None"),
        ({"environment": "stagin"}, "production, staging"),
    ],
)
@pytest.mark.usefixtures("connection")
def test_bad_input_fails_without_a_retry(
    fields: dict[str, Any], message: str, empirical: Emulator
) -> None:
    """What no retry mends fails the task for good, with the core's words."""
    with pytest.raises(FAIL_FOR_GOOD) as error:
        execute(**fields)
    assert message in str(error.value)
    assert empirical.runs == []


@pytest.mark.usefixtures("connection")
def test_an_outcome_that_is_not_known_fails_without_a_retry(empirical: Emulator) -> None:
    """If retries do not know of each other there is none; the cause stays reachable."""
    empirical.fault("trigger", "status", status=500, when="after")
    with pytest.raises(FAIL_FOR_GOOD, match="not known whether") as error:
        execute(environment="staging", durable=False)
    assert isinstance(error.value.__cause__.__cause__, ServerError)


@pytest.mark.usefixtures("connection")
def test_an_error_that_may_pass_is_left_to_airflows_retries(empirical: Emulator) -> None:
    """An error that may pass comes through as it is."""
    empirical.fault("trigger", "status", status=429, retry_after="3600")
    with pytest.raises(RateLimitedError):
        execute(environment="staging")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("environment", 1234567, "1234567"),
        ("environment", None, None),
        ("environment", True, True),
        ("key", 7, "7"),
        ("expect_commit", 1234567, "1234567"),
        ("tags", (1, "@a"), ["1", "@a"]),
        ("tags", range(2), ["0", "1"]),
        ("tags", ' ["@a", 1]', ["@a", "1"]),
        ("build", '{"commit": 1234567}', {"commit": "1234567"}),
        ("metadata", '{"ticket": 7}', {"ticket": 7}),
        ("metadata", {"weight": 0.5}, {"weight": 0.5}),
        ("concurrency", {"group": 7, "on_conflict": "wait"}, {"group": "7", "on_conflict": "wait"}),
        (
            "environment_variables_overrides",
            '[{"name": "A", "value": 1}]',
            [{"name": "A", "value": "1"}],
        ),
        ("concurrency", "False", False),
        ("concurrency", False, False),
        ("total_shards", "3", 3),
        ("send_notifications", "True", True),
    ],
)
def test_a_field_has_the_type_that_it_is_meant_to_have(
    name: str, value: Any, expected: Any
) -> None:
    """Digits stay text, and text is read where it is the JSON of what the field holds."""
    assert as_field(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("build", "{'commit': 'c0ffee0'}", "build must be a mapping, not str: pass the output of"),
        ("build", '["c0ffee0"]', "build must be a mapping, not str"),
        ("build", '{"commit":', "build must be a mapping, not str"),
        ("tags", '{"a": 1}', "tags must be a list of strings, not str"),
        ("build", {"version": 1.4}, "build.version must be a text, not a float"),
        ("tags", ["@a", 1.4], "tags[1] must be a text, not a float"),
        ("expect_commit", float("inf"), "expect_commit must be a text, not a float"),
        ("environment_variables_overrides", {"PIN": 1.5}, "overrides.PIN must be a text, not a fl"),
    ],
)
def test_what_no_longer_tells_what_was_meant_is_refused(
    name: str, value: Any, message: str
) -> None:
    """A float was some text once, and text that is no JSON of the right shape is no mapping."""
    with pytest.raises(InvalidRequestError) as error:
        as_field(name, value)
    assert message in str(error.value)
    assert "1.5" not in str(error.value)


@pytest.mark.parametrize(
    ("read", "given", "expected"),
    [
        (as_integer, "12", 12),
        (as_integer, " 12", " 12"),
        (as_integer, "-1", "-1"),
        (as_integer, "1.0", "1.0"),
        (as_integer, 12, 12),
        (as_number, "0.5", 0.5),
        (as_number, "1e9", "1e9"),
        (as_number, None, None),
        (as_boolean, "True", True),
        (as_boolean, "false", False),
        (as_boolean, "yes", "yes"),
        (as_boolean, 1, 1),
    ],
)
def test_rendered_text_is_read_strictly(read: Any, given: Any, expected: Any) -> None:
    """Only plain digits and true or false are turned back; anything else is left to the core."""
    assert read(given) == expected
    assert type(read(given)) is type(expected)


@pytest.mark.parametrize(
    ("values", "shown", "secrets"),
    [
        ({"A": "1", "B": ""}, {"A": "***", "B": "***"}, ["1"]),
        ([{"name": "A", "value": "1"}], {"A": "***"}, ["1"]),
        (["odd"], {"?": "***"}, []),
        ("{'A': 'hush'}", {"?": "***"}, ["{'A': 'hush'}"]),
    ],
)
def test_hidden_values_show_names_only(values: Any, shown: Any, secrets: list[str]) -> None:
    """Whatever form the overrides come in, none of their values is shown."""
    hidden = HiddenValues(values)
    assert hidden.serialize() == shown
    assert str(hidden) == repr(hidden) == str(shown)
    assert list(hidden.secrets()) == secrets
