"""Whole DAG runs in a real Airflow, and what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow import settings
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.airflow.versions import find

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

SECRET = "override-4be1c7"
DagBag = find("airflow.dag_processing.dagbag:DagBag", "airflow.models.dagbag:DagBag")
SerializedDAG = find(
    "airflow.serialization.serialized_objects:DagSerialization",
    "airflow.serialization.serialized_objects:SerializedDAG",
)
EXAMPLES = Path(__file__).parents[2] / "dags_examples"


def link_of(run: DagRun, task_id: str, file: Path) -> str:
    """Ask for the extra link the way Airflow's UI does: of the DAG as Airflow stores it."""
    parsed = DagBag(file).dags[run.dag_id]
    stored = SerializedDAG.from_dict(SerializedDAG.to_dict(parsed))
    with create_session() as session:
        [ti] = session.query(TaskInstance).filter_by(
            dag_id=run.dag_id, run_id=run.run_id, task_id=task_id
        )
        link = str(stored.get_task(task_id).get_extra_links(ti, "Empirical test run"))
    # SQLite must not stay open here: `leaks` reads its file, and closing that drops SQLite's locks.
    settings.engine.dispose()
    return link


@pytest.mark.seconds
def test_the_example_hands_the_run_on(run_dag: Callable[..., DagRun], empirical: Emulator) -> None:
    """The example DAG releases, starts a run with the build's data, and records the run's id."""
    run = run_dag("release_then_test", EXAMPLES)
    assert run.states == {"success"}
    [started] = empirical.runs
    xcoms = run.xcoms("e2e")
    url = f"{empirical.url}/acme/test-runs/{started.id}"
    assert xcoms["return_value"] == xcoms["test_run_id"] == started.id
    assert xcoms["test_run_url"] == url
    assert xcoms["test_run"] == {
        "id": started.id,
        "state": "queued",
        "url": url,
        "branch": "main",
        "created_at": started.created_at,
    }
    built = run.xcoms("release")["return_value"]
    assert started.body["build"] == {key: built[key] for key in ("url", "version", "commit")}
    recorded = json.loads(Path(run.xcoms("record")["return_value"]).read_text())
    assert recorded["test_run_id"] == started.id
    assert link_of(run, "e2e", EXAMPLES / "release_then_test.py") == url


@pytest.fixture
def secret_variable(monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep a secret in a Variable whose name gives nothing away."""
    monkeypatch.setenv("AIRFLOW_VAR_PLAIN_NAME", SECRET)
    return SECRET


@pytest.mark.seconds
def test_every_field_is_templated_and_nothing_leaks(
    run_dag: Callable[..., DagRun],
    empirical: Emulator,
    api_key: str,
    secret_variable: str,
    database: Path,
) -> None:
    """Nested templates arrive rendered, mapped tasks too, and no secret stays behind anywhere."""
    run = run_dag("every_field")
    assert run.states == {"success"}

    bodies = {json.dumps(each.body.get("build")): each.body for each in empirical.runs}
    everything = bodies.pop('{"url": "https://staging.example.com/1", "commit": "c0ffee0"}')
    metadata = everything.pop("metadata")
    variable = {"name": "EMPIRICAL_TRIGGER_KEY", "value": metadata["trigger_key"]}
    assert everything == {
        "environment": "production",
        "build": {"url": "https://staging.example.com/1", "commit": "c0ffee0"},
        "environment_variables_overrides": [
            {"name": "TOKEN", "value": secret_variable},
            {"name": "PIN", "value": "42"},
            variable,
        ],
        "tags": ["@alice"],
        "test_case_ids": ["alice-1"],
        "total_shards": 3,
        "send_notifications": False,
        "github_actor": "alice",
        "concurrency": {"group": "release-alice", "on_conflict": "wait"},
    }
    assert {key: metadata[key] for key in ("by", "dag_id", "run_id", "task_id")} == {
        "by": "alice",
        "dag_id": "every_field",
        "run_id": run.run_id,
        "task_id": "mine",  # the user's own key wins
    }
    assert metadata["logical_date"].startswith("20")
    assert "every_field" in metadata["task_url"]

    mapped = sorted(
        (each.body for each in empirical.runs if "build" not in each.body),
        key=lambda body: str(body["environment"]),
    )
    keys = {each.pop("metadata")["trigger_key"] for each in mapped}
    for each in mapped:
        assert each["environment_variables_overrides"].pop()["value"] in keys
    assert len(keys) == 2  # each mapped task has a run of its own
    assert mapped == [
        {
            "environment": place,
            "branch": "main",
            "environment_variables_overrides": [{"name": "TOKEN", "value": secret_variable}],
        }
        for place in ("production", "staging")
    ]

    for task, index, names in (("everything", -1, {"TOKEN", "PIN"}), ("mapped", 0, {"TOKEN"})):
        shown = run.rendered(task, index)["environment_variables_overrides"]
        if isinstance(shown, str):  # 2.11 and 3.0 store the text of what they do not know
            shown = json.loads(shown.replace("'", '"'))
        assert shown == dict.fromkeys(names, "***")

    for place, text in leaks(run, database.parent, database).items():
        assert api_key not in text, place
        assert secret_variable not in text, place


def leaks(run: DagRun, home: Path, database: Path) -> dict[str, str]:
    """Return all that a run left: the database, every file of the home, and what was printed.

    `airflow dags test` itself prints the connection's password as it passes it on to be masked,
    and variables as it receives them; those lines of Airflow's own are left out.
    """
    hosts_own = ("MaskSecret(", "VariableResult(", "ConnectionResult(")
    printed = [line for line in run.output.splitlines() if not any(w in line for w in hosts_own)]
    places = {"output": "\n".join(printed), "database": database.read_bytes().decode("latin-1")}
    for path in home.rglob("*"):
        if path.is_file() and path != database:
            places[str(path)] = path.read_bytes().decode("latin-1")
    return places


@pytest.mark.seconds
def test_errors_are_retried_only_where_no_second_run_can_come_of_it(
    run_dag: Callable[..., DagRun], empirical: Emulator, database: Path
) -> None:
    """Without retries that know of each other, a lost answer fails the task for good with one run
    made; a rate limit is retried.

    The search for leaks is shown to find what is planted: in a file, the output, the database.
    """
    empirical.fault("trigger", "drop", when="after")
    empirical.fault("trigger", "status", status=429, retry_after="3600")
    run = run_dag("retries")
    assert run.task("lost") == ("failed", 1)
    assert run.task("limited") == ("success", 2)
    assert len(empirical.runs) == 2

    planted = database.parent / "planted.log"
    planted.write_text("oh no: planted-in-a-file")
    found = leaks(run, database.parent, database)
    planted.unlink()
    for place, secret in (
        (str(planted), "planted-in-a-file"),
        ("output", "planted-in-the-output"),
        ("database", "planted-in-a-field"),
    ):
        assert secret in found[place]


@pytest.mark.slow
def test_a_task_before_that_returns_nothing_starts_no_run(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """A field that is the output of another task fails its task where that is None or empty, mapped
    or not, whole or a part of it; only what the author of the DAG does not give is left out."""
    run = run_dag("nothing", may_fail=True)
    assert run.task("gate")[0] == run.task("mapped", 0)[0] == "failed"
    assert run.output.count("expect_commit must have a value, or be left out") >= 2
    states = [run.task("open", index)[0] for index in range(5)]
    assert states == ["success", "success", "failed", "failed", "failed"]
    assert [run.task("built", index)[0] for index in range(6)] == ["failed"] * 5 + ["success"]
    assert run.task("plain")[0] in {"failed", "upstream_failed"}  # 3.0 fails the task before
    bodies = [each.body for each in empirical.runs]
    assert sorted(str(body.get("tags")) for body in bodies) == ["None", "None", "['@a']"]
    assert [body["build"] for body in bodies if "build" in body] == [{"version": "1.5"}]


@pytest.mark.seconds
@pytest.mark.usefixtures("telling")
def test_a_retry_goes_on_with_the_run_of_the_try_before(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """An interrupted task keeps its run, one that ended in error gets another, and mapped tasks
    share the run of their rendered key: as this Airflow counts tries, and keeps what is saved."""
    empirical.script("staging", "error", runs=1)
    run = run_dag("durable")
    assert run.task("interrupted") == run.task("errored") == ("success", 2)
    kept, failed, again, shared = empirical.runs
    assert [each.body["environment"] for each in empirical.runs] == [
        "production",
        "staging",
        "staging",
        "production",
    ]
    assert failed.state == "error"
    for task, its in (("interrupted", kept), ("errored", again)):
        xcoms = run.xcoms(task)
        assert xcoms["return_value"] == xcoms["test_run_id"] == xcoms["verdict"]["run_id"] == its.id
    for index in (0, 1):
        assert run.xcoms("shared", index)["verdict"]["run_id"] == shared.id


@pytest.mark.slow
def test_the_looks_of_a_rescheduled_sensor_share_its_time(
    run_dag: Callable[..., DagRun], empirical: Emulator, api_key: str
) -> None:
    """Each look is a start of its own, and yet they end in time: as this Airflow stores them."""
    empirical.script("staging", "stuck")
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    run = run_dag("rescheduled", conf={"test_run_id": run_id}, may_fail=True)
    assert run.task("wait")[0] == "failed"
    verdict = run.xcoms("wait")["verdict"]
    assert verdict["outcome"] == "timed_out"
    assert 8 <= verdict["elapsed_seconds"] < 60


@pytest.mark.slow
def test_natively_rendered_fields_are_what_they_are_meant_as(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """Digits stay text; a float, which no longer tells what it was, is refused with the way to
    write it; a mapping or a lazy list is taken as it comes."""
    run = run_dag("natively", may_fail=True)
    names = ("digits", "float", "quoted", "whole", "lazy")
    states = {name: run.task(name)[0] for name in names}
    assert states == {**dict.fromkeys(names, "success"), "float": "failed"}
    assert "build.version must be a text, not a float" in run.output
    digits, whole, lazy = (
        run_of(run, name, empirical).body for name in ("digits", "whole", "lazy")
    )
    assert digits["github_actor"] == "1234567"
    assert digits["build"] == {"version": "1234567", "commit": "1234567"}
    assert digits["tags"] == ["1234567"]
    assert digits["environment_variables_overrides"][0] == {"name": "PIN", "value": "1234567"}
    assert whole["build"] == {"commit": "0123456789", "version": "1.40"}
    assert whole["tags"] == ["@smoke"]
    assert run.xcoms("whole")["verdict"]["expected_commit"] == "0123456789"
    assert run_of(run, "quoted", empirical).body["build"] == {"version": "1.40"}
    assert lazy["tags"] == ["@1", "@2"]


@pytest.mark.slow
def test_text_of_the_right_shape_is_read_and_objects_are_rendered(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """Without native rendering JSON is a mapping, the text of a Python dict is refused with what
    to write, and a `Build` is rendered as a mapping is."""
    run = run_dag("as_text", may_fail=True)
    names = ("json", "python", "objects", "overrides")
    states = {name: run.task(name)[0] for name in names}
    assert states == {**dict.fromkeys(names, "success"), "python": "failed"}
    assert "build must be a mapping, not str" in run.output
    read, objects, overrides = (
        run_of(run, name, empirical).body for name in ("json", "objects", "overrides")
    )
    assert read["build"] == {"commit": "0123456789", "version": "1.40"}
    assert read["tags"] == ["@smoke"]
    assert run.xcoms("json")["verdict"]["expected_commit"] == "0123456789"
    assert objects["build"] == {"commit": "0123456789", "version": "1.40"}
    assert objects["concurrency"] == {"group": "1234567", "on_conflict": "wait"}
    for body in (objects, overrides):
        assert body["environment_variables_overrides"][0] == {"name": "TICKET", "value": "1234567"}


@pytest.mark.seconds
def test_an_operator_inside_of_another_task_waits_there(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """It cannot be deferred there: it waits in the worker and says so. A trigger without a wait
    says which default arguments have no effect."""
    empirical.script("staging", "passed")
    run = run_dag("inside")
    assert run.states == {"success"}
    assert run.xcoms("gate")["verdict"]["outcome"] == "passed"
    assert "the wait is not deferred, as EmpiricalTriggerTestRunOperator is executed" in run.output
    assert "deferrable and policy (of default_args): no effect without wait_for" in run.output


@pytest.mark.seconds
def test_a_mapped_branch_does_not_choose_for_all_of_its_indexes(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """A task behind a mapped branch that all indexes share would never be skipped: it is refused,
    whatever the verdicts are."""
    empirical.script("staging", "failed")
    run = run_dag("outside", may_fail=True)
    assert run.task("place.decide", 0)[0] in {"failed", "upstream_failed"}
    assert run.task("promote")[0] == run.task("promote__1")[0] == "upstream_failed"


def run_of(run: DagRun, task_id: str, empirical: Emulator) -> Any:
    """Return the run that a task has started, as the service has it."""
    [found] = [each for each in empirical.runs if each.id == run.xcoms(task_id)["test_run_id"]]
    return found
