"""Hostile values on their way through Airflow: templates, run ids, connections, links, frames."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pytest
from airflow.models.connection import Connection

from empirical_provider import EmpiricalError, InvalidRequestError
from empirical_provider.airflow import links, operators, sensors, triggers
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.operators import (
    EmpiricalBranchOperator,
    EmpiricalPreflightOperator,
    EmpiricalTriggerTestRunOperator,
)
from empirical_provider.airflow.provider_info import CONNECTION_FIELDS
from empirical_provider.airflow.rendered import HiddenValues, as_integer, as_number
from empirical_provider.airflow.sensors import EmpiricalTestRunSensor
from empirical_provider.airflow.versions import find
from tests.airflow.standins import (
    AirflowFailException,
    TaskInstance,
    context_of,
    run,
    sensor,
)
from tests.leaking import leaks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator

DAG = find("airflow.sdk:DAG", "airflow.models.dag:DAG")
VALUE = "override-value-77aa01"


def trigger_of(**fields: Any) -> EmpiricalTriggerTestRunOperator:
    return EmpiricalTriggerTestRunOperator(task_id="e2e", **{"environment": "staging", **fields})


def rendered(task: Any) -> Any:
    """Render a task's fields as Airflow does, with nothing in the context but a date."""
    task.render_template_fields({"ds": "2026-11-25"}, jinja2.Environment())  # noqa: S701  # no HTML
    return task


LEFTOVERS: list[tuple[dict[str, Any], str]] = [
    ({"environment": "{{ ds }}"}, "environment holds a template that was not rendered"),
    ({"environment": "a-{% if x %}"}, "environment holds a template"),
    ({"branch": "None"}, "branch is the text 'None': its template finds nothing"),
    ({"build": {"commit": "{{ ds }}"}}, "build.commit holds a template"),
    ({"build": {"url": " None\n"}}, "build.url is the text 'None'"),
    ({"tags": ["@a", "{{ ds }}"]}, "tags[1] holds a template"),
    ({"tags": ("None",)}, "tags[0] is the text 'None'"),
    ({"test_case_ids": ["{{ ds }}"]}, "test_case_ids[0] holds a template"),
    ({"github_actor": "{{ ds }}"}, "github_actor holds a template"),
    ({"concurrency": {"group": "{{ ds }}", "on_conflict": "wait"}}, "concurrency.group holds"),
    ({"total_shards": "{{ ds }}"}, "total_shards holds a template"),
    ({"send_notifications": "None"}, "send_notifications is the text 'None'"),
    ({"key": "release {{ ds }}"}, "key holds a template"),
]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(("fields", "message"), LEFTOVERS, ids=[text for _, text in LEFTOVERS])
def test_what_a_template_leaves_behind_is_refused(
    fields: dict[str, Any], message: str, empirical: Emulator
) -> None:
    """A text that still is a template, or "None", fails the task for good before any request."""
    task = trigger_of(**dict.fromkeys(fields, "{{ params.it }}"))
    for name, left in fields.items():
        setattr(task, name, left)
    with pytest.raises(AirflowFailException) as error:
        run(task, TaskInstance())
    assert message in str(error.value)
    assert isinstance(error.value.__cause__, InvalidRequestError)
    assert empirical.requests == []


@pytest.mark.usefixtures("connection")
def test_the_preflight_refuses_leftovers_too(empirical: Emulator) -> None:
    """What is looked at before a release goes by the same rule."""
    task = EmpiricalPreflightOperator(task_id="look", environment="staging", tags=["{{ ds }}"])
    with pytest.raises(AirflowFailException, match=r"tags\[0\] holds a template"):
        task.execute({})
    assert empirical.requests == []


NOTHING: list[tuple[type[Any], str]] = [
    *((EmpiricalTriggerTestRunOperator, name) for name in trigger_of().template_fields),
    *((EmpiricalPreflightOperator, name) for name in EmpiricalPreflightOperator.template_fields),
    *((EmpiricalBranchOperator, name) for name in EmpiricalBranchOperator.template_fields),
    (EmpiricalTestRunSensor, "expect_commit"),
    (EmpiricalTestRunSensor, "report_path"),
    (EmpiricalTestRunSensor, "empirical_conn_id"),
]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(("kind", "name"), NOTHING)
def test_a_field_that_comes_out_as_none_is_refused(
    kind: type[Any], name: str, empirical: Emulator
) -> None:
    """A field that was given never counts as left out, whatever its template makes of it: the
    task fails for good before any request."""
    gates = kind is EmpiricalTriggerTestRunOperator
    waits = {"wait_for_completion": True} if gates else {}
    fields = {"test_run_id": 1} if kind is EmpiricalTestRunSensor else waits
    with DAG(dag_id="release", schedule=None, render_template_as_native_obj=True):
        task = kind(task_id="e2e", **{**fields, name: "{{ none }}"})
    task.render_template_fields({})
    act = task.choose_branch if kind is EmpiricalBranchOperator else task.execute
    with pytest.raises(AirflowFailException, match=f"{name} must have a value, or be left out"):
        act(context_of(TaskInstance()))
    assert empirical.requests == []


@pytest.mark.usefixtures("connection")
def test_a_build_whose_commit_comes_out_as_none_is_refused(empirical: Emulator) -> None:
    """Nor is a part of a field left out: without the build's commit, any would open the gate."""
    with DAG(dag_id="release", schedule=None, render_template_as_native_obj=True):
        task = EmpiricalTriggerTestRunOperator(
            task_id="e2e",
            environment="staging",
            build={"commit": "{{ none }}", "branch": None},
            metadata={"a.b": "{{ 'c' }}"},
        )
    task.render_template_fields({})
    with pytest.raises(AirflowFailException, match=r"build\.commit must have a value"):
        task.execute(context_of(TaskInstance()))
    task.build = {"commit": "abcdef0", "branch": None}
    task.execute(context_of(TaskInstance()))
    assert [each.body["build"] for each in empirical.runs] == [{"commit": "abcdef0"}]


@pytest.mark.usefixtures("connection")
def test_a_field_that_was_none_from_the_start_is_left_out(empirical: Emulator) -> None:
    """What is None when the task is made keeps its default, rendered or not."""
    task = rendered(trigger_of(key=None, tags=None, expect_commit=None, report_path=None))
    run(pickle.loads(pickle.dumps(task)), TaskInstance())
    assert len(empirical.runs) == 1


@pytest.mark.usefixtures("connection")
def test_free_text_may_hold_braces(empirical: Emulator) -> None:
    """A commit message in the metadata and a template for the application are sent as they are."""
    text = "fix: render {{ name }} and {% raw %}"
    fields = {"metadata": {"m": text}, "environment_variables_overrides": {"T": text, "N": "None"}}
    run(trigger_of(**fields, add_context_metadata=False, durable=False), TaskInstance())
    [request] = [each for each in empirical.requests if each.endpoint == "trigger"]
    assert request.body["metadata"] == {"m": text}
    assert request.body["environment_variables_overrides"] == [
        {"name": "T", "value": text},
        {"name": "N", "value": "None"},
    ]


@pytest.mark.usefixtures("connection")
def test_a_template_that_is_rendered_is_no_leftover(empirical: Emulator) -> None:
    """The rule looks at what was rendered: templates work, in nested values, too."""
    task = rendered(trigger_of(tags=["@{{ ds }}"], build={"version": "{{ ds }}"}, durable=False))
    run(task, TaskInstance())
    [request] = [each for each in empirical.requests if each.endpoint == "trigger"]
    assert request.body["tags"] == ["@2026-11-25"]
    assert request.body["build"] == {"version": "2026-11-25"}


BAD_IDS = [
    *("", "None", "456/../1", " 456", "४५६", "4_5", "0456", "456\n", "1.0", "{{ ds }}"),
    *(-1, 0, True, 1.0, None, [456], 2**53, 10**30, 10**5000, "9" * 30),
]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("given", BAD_IDS, ids=range(len(BAD_IDS)))
@pytest.mark.parametrize("kind", ["sensor", "branch", "branch by xcom"])
def test_a_run_id_is_read_strictly(kind: str, given: Any, empirical: Emulator) -> None:
    """No sensor and no branch takes for a run id what is not exactly one, given or by XCom."""

    class Before(TaskInstance):
        def xcom_pull(self, **_: Any) -> Any:
            return given

    if kind == "sensor":
        task: Any = sensor(test_run_id=given)
    else:
        task = EmpiricalBranchOperator(task_id="e2e", test_run_id=given)
        if kind == "branch by xcom" or given is None:
            task = EmpiricalBranchOperator(task_id="e2e")
            task.upstream_task_ids = {"before"}
    act = task.execute if kind == "sensor" else task.choose_branch
    with pytest.raises(AirflowFailException, match="test_run_id"):
        act(context_of(Before()))
    assert empirical.requests == []


@pytest.mark.parametrize("given", ["४", "٤", "1\n", " 1", "1_0", "²"])
def test_form_fields_are_read_strictly(given: str) -> None:
    """A number of the connection's form is ASCII digits; all else stays the text that it is."""
    assert as_integer(given) is given
    assert as_number(given) is given


# The connection


FORMS = {
    "json": lambda extra: json.dumps(
        {"conn_type": "empirical", "password": "emp-key-1", "extra": extra}
    ),
    "json text": lambda extra: json.dumps(
        {"conn_type": "empirical", "password": "emp-key-1", "extra": json.dumps(extra)}
    ),
    "uri": lambda extra: Connection(
        conn_id="x", conn_type="empirical", password="emp-key-1", extra=json.dumps(extra)
    ).get_uri(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "extra",
    ["verify", "verify_ssl", "cert", "proxy", "proxies", "base_url", "host", "api_key", "headers",
     "trust_env", "follow_redirects", "retry_for", "extra__empirical__verify", "schema", ""],
)  # fmt: skip
def test_no_extra_but_ours_is_taken(form: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever form a connection is given, an extra that is none of ours is refused by name."""
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", FORMS[form]({extra: "hush-extra"}))
    with pytest.raises(InvalidRequestError, match="unknown key") as error:
        EmpiricalHook().get_conn()
    assert leaks_of(error.value, ["emp-key-1"]) == []
    assert "hush-extra" not in str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_bundle_of_the_connection_reaches_the_client(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra ca_bundle is read, and one that is no file is refused before any request."""
    missing = str(tmp_path / "authorities.pem")
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", FORMS[form]({"ca_bundle": missing}))
    with pytest.raises(InvalidRequestError, match=r"ca_bundle must be the path of a PEM file"):
        EmpiricalHook().get_conn()


def test_the_form_offers_the_bundle_and_nothing_that_weakens() -> None:
    """The form's fields are these, and none of them turns the verification off."""
    assert list(CONNECTION_FIELDS) == [
        "project_id",
        "project_slug",
        "dashboard_url",
        "environment",
        "timeout",
        "ca_bundle",
    ]


def test_no_argument_says_where_the_key_goes() -> None:
    """No operator, sensor or trigger takes an address, a header or how to verify: only a DAG's
    connection does."""
    kinds = [
        EmpiricalTriggerTestRunOperator,
        EmpiricalBranchOperator,
        EmpiricalPreflightOperator,
        sensors.EmpiricalTestRunSensor,
        triggers.EmpiricalTestRunTrigger,
    ]
    for kind in kinds:
        ours = {*inspect.signature(kind.__init__).parameters} | {
            *vars(kind).get("template_fields", ())
        }
        for word in ("url", "host", "header", "verify", "proxy", "bundle", "api_key", "client"):
            assert not [name for name in ours if word in name], kind
    assert operators.__all__ == [
        "EmpiricalBranchOperator",
        "EmpiricalPreflightOperator",
        "EmpiricalTriggerTestRunOperator",
    ]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("name", ["base_url", "dashboard_url", "api_key", "ca_bundle", "verify"])
def test_a_hook_changes_no_address(name: str) -> None:
    """Nor does the hook let the key of a connection go to an address of the caller's."""
    with pytest.raises(InvalidRequestError, match=f"get_conn has the unknown key '{name}'"):
        EmpiricalHook().get_conn(**{name: "https://evil.example"})


# The link


def link_of(value: Any, monkeypatch: pytest.MonkeyPatch, operator: Any = None) -> str:
    monkeypatch.setattr(links, "read_xcom", lambda *_: value)
    return EmpiricalTestRunLink().get_link(operator or trigger_of(), ti_key=None)


@pytest.mark.usefixtures("connection")
def test_the_page_of_a_run_is_a_link(empirical: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page below the connection's dashboard is the link, a quoted slug included."""
    for slug in ("acme", "a%20b", "..%2F..%2Fevil"):
        page = f"{empirical.url}/{slug}/test-runs/5"
        assert link_of(page, monkeypatch) == page


HOSTILE_PAGES = [
    "javascript:alert(1)",
    "javascript://127.0.0.1/acme/test-runs/5",
    "JaVaScRiPt:alert(1)//acme/test-runs/5",
    "data:text/html,<script>/acme/test-runs/5",
    "//evil.example/acme/test-runs/5",
    "http://evil.example/acme/test-runs/5",
    "https://evil.example/acme/test-runs/5",
    "https://dash.empirical.run@evil.example/acme/test-runs/5",
    "https://dash.empirical.run\\@evil.example/acme/test-runs/5",
    "HOST.evil.example/acme/test-runs/5",
    "HOST@evil.example/acme/test-runs/5",
    "HOST/acme/test-runs/5?next=//evil.example",
    "HOST/acme/test-runs/5#x",
    "HOST/acme/../test-runs/5",
    "HOST/login",
    "HOST/acme/test-runs/5\n",
    "/acme/test-runs/5",
    "",
    5,
    {"url": "https://evil.example"},
    None,
]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("value", HOSTILE_PAGES, ids=str)
def test_nothing_else_becomes_a_link(
    value: Any, empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another task may have written where the link is read from is no link."""
    if isinstance(value, str):
        value = value.replace("HOST", empirical.url)
    assert link_of(value, monkeypatch) == ""


@pytest.mark.parametrize("value", HOSTILE_PAGES, ids=str)
def test_without_the_connection_the_form_still_counts(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection is not known, only https pages of test runs are links."""
    if isinstance(value, str):
        value = value.replace("HOST", "https://dash.empirical.run")
    link = link_of(value, monkeypatch, trigger_of(empirical_conn_id="not_here"))
    assert link in {"", "https://evil.example/acme/test-runs/5",
                    "https://dash.empirical.run.evil.example/acme/test-runs/5"}  # fmt: skip
    page = "https://dash.empirical.run/acme/test-runs/5"
    assert link_of(page, monkeypatch, trigger_of(empirical_conn_id="not_here")) == page


def test_a_dashboard_of_the_connection_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links are held against the dashboard that the connection names, not against its API."""
    connection = {"conn_type": "empirical", "password": "k", "host": "https://api.empirical.run"}
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(connection))
    page = "/acme/test-runs/5"
    assert link_of(f"https://dash.empirical.run{page}", monkeypatch)
    assert not link_of(f"https://api.empirical.run{page}", monkeypatch)
    connection["extra"] = {"dashboard_url": "https://shown.example/emp/"}  # type: ignore[assignment]
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(connection))
    assert link_of(f"https://shown.example/emp{page}", monkeypatch)
    assert not link_of(f"https://shown.example/empty{page}", monkeypatch)


# What trackers take


@pytest.fixture
def failing(connection: dict[str, Any], empirical: Emulator) -> Callable[..., EmpiricalError]:
    """Return the error that a task ends with."""
    del connection, empirical

    def end(task: Any) -> Any:
        with pytest.raises(Exception) as error:  # noqa: PT011  # the host's, or ours
            run(task, TaskInstance())
        return error.value

    return end


@pytest.mark.parametrize("shape", ["mapping", "list", "native"])
@pytest.mark.parametrize("case", ["bad field", "401", "lost", "red", "kaputt", "rejected"])
def test_a_task_that_fails_leaves_no_secret_in_any_frame(
    case: str,
    shape: str,
    failing: Callable[..., EmpiricalError],
    empirical: Emulator,
    api_key: str,
) -> None:
    """However a task fails, no frame of it or of its causes has the key or an override's value."""
    overrides: Any = {"TOKEN": VALUE}
    if shape == "list":
        overrides = [{"name": "TOKEN", "value": VALUE}]
    task = trigger_of(
        environment_variables_overrides=overrides,
        wait_for_completion=True,
        poll_interval=0.01,
        durable=False,
        tags=["@smoke"],
    )
    if case == "bad field":
        task.tags = [""]
    if shape != "native":
        rendered(task)
        assert isinstance(task.environment_variables_overrides, HiddenValues)
    if case == "401":
        empirical.revoke(api_key)
    elif case == "lost":
        empirical.fault("trigger", "drop", when="after")
    elif case == "kaputt":
        empirical.fault("trigger", "truncated", when="after")
    else:
        empirical.script("staging", {"red": "failed"}.get(case, "rejected"))
    error = failing(task)
    assert leaks_of(error, [api_key, VALUE]) == []
    empirical.restore(api_key)


def test_a_connection_that_is_refused_leaves_no_key_in_any_frame(
    monkeypatch: pytest.MonkeyPatch, api_key: str
) -> None:
    """Airflow's connection shows its password in its repr: no frame of ours keeps one."""
    for wrong in (
        {"host": "http://evil.example"},
        {"extra": {"timeout": "x"}},
        {"host": "h", "port": 99999},
    ):
        connection = {"conn_type": "empirical", "password": api_key, **wrong}
        monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(connection))
        with pytest.raises(InvalidRequestError) as error:
            EmpiricalHook().get_conn()
        assert leaks_of(error.value, [api_key]) == []


@pytest.mark.usefixtures("connection")
def test_the_settings_that_a_trigger_holds_show_no_key(api_key: str) -> None:
    """A trigger keeps the settings in a local for as long as it waits: their repr hides the key."""
    held = asyncio.run(EmpiricalHook().aget_settings())
    assert held["api_key"] == api_key
    assert api_key not in repr(held)


@pytest.mark.usefixtures("connection")
def test_spans_around_a_task_hold_no_secret(empirical: Emulator, api_key: str) -> None:
    """A span that records the error of a start, as Airflow's tracing would, tells no secret."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    empirical.fault("trigger", "status", status=422, message=f"{api_key} {VALUE}")
    task = trigger_of(environment_variables_overrides={"T": VALUE}, durable=False)
    tracer = provider.get_tracer("test")
    with pytest.raises(AirflowFailException), tracer.start_as_current_span("task"):
        run(task, TaskInstance())
    [span] = exporter.get_finished_spans()
    [event] = span.events
    assert "exception.stacktrace" in event.attributes
    assert api_key not in span.to_json()
    assert VALUE not in span.to_json()


@pytest.mark.usefixtures("connection")
def test_a_forged_title_makes_one_line_of_the_log(
    empirical: Emulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of the service are one line of a task's log, whatever they hold."""
    from empirical_provider import answers  # noqa: PLC0415  # where they are read

    text = answers.text
    forged = "\nERROR forged \x1b[31m"
    real = answers.test_run

    def read(row: Any, where: str) -> Any:
        ended = {"environment_slug": forged} if row["state"] == "error" else {}
        return real({**row, **ended, "error_code": forged}, where)

    monkeypatch.setattr("empirical_provider.answers.test_run", read)
    assert text({"a": forged}, "a") == " ERROR forged  [31m"
    caplog.set_level(logging.DEBUG, "empirical_provider")
    empirical.script("staging", "error")
    task = trigger_of(wait_for_completion=True, poll_interval=0.01, durable=False)
    with pytest.raises(EmpiricalError):
        run(task, TaskInstance())
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        assert "\x1b" not in record.getMessage()
