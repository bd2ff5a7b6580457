"""The examples of the gate, run as whole DAG runs; `test_dag_runs` has the first example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.receiving import served

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

pytestmark = [pytest.mark.slow, pytest.mark.swift]  # looks are ten real seconds apart

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


def test_a_deferred_gate_opens(run_dag: Callable[..., DagRun], empirical: Emulator) -> None:
    """The gate defers, resumes with the verdict, and the next task can quote it."""
    empirical.script("staging", "passed", total=9)
    run = run_dag("gate_deferrable", EXAMPLES)
    assert run.states == {"success"}
    [started] = empirical.runs
    xcoms = run.xcoms("gate")
    assert xcoms["return_value"] == xcoms["test_run_id"] == started.id
    assert xcoms["verdict"]["outcome"] == "passed"
    assert f"Promoted: Empirical test run {started.id}" in run.xcoms("promote")["return_value"]
    url = f"{empirical.url}/acme/test-runs/{started.id}"
    assert run.output.index(url) < run.output.index("Verdict: passed, so the gate says pass.")


def test_a_sensor_waits_for_the_run_of_another_task(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """The sensor takes the id from the task that started the run, and hands it on."""
    run = run_dag("sensor_after_trigger", EXAMPLES)
    assert run.states == {"success"}
    assert run.xcoms("tested")["verdict"]["outcome"] == "passed"
    assert f"run {empirical.runs[0].id}." in run.xcoms("promote")["return_value"]


def test_a_red_gate_rolls_back(run_dag: Callable[..., DagRun], empirical: Emulator) -> None:
    """Behind a red gate the branch takes the way back, by the run that the gate has started."""
    empirical.script("production", "failed", total=9, failed=2)
    run = run_dag("promote_or_roll_back", EXAMPLES)
    states = {name: run.task(name)[0] for name in ("gate", "decide", "promote", "roll_back")}
    assert states == {
        "gate": "failed",
        "decide": "success",
        "promote": "skipped",
        "roll_back": "success",
    }
    assert run.xcoms("decide")["verdict"] == {
        **run.xcoms("gate")["verdict"],
        "elapsed_seconds": None,
    }


def test_there_is_one_gate_for_each_environment(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """Mapped gates start a run each, and the next task gets all their ids."""
    run = run_dag("matrix_of_environments", EXAMPLES)
    assert run.states == {"success"}
    assert sorted(each.body["environment"] for each in empirical.runs) == ["production", "staging"]
    ids = ", ".join(str(each.id) for each in sorted(empirical.runs, key=lambda each: each.id))
    assert run.xcoms("promote")["return_value"] == f"Tested by runs {ids}."


def test_red_tests_get_one_more_chance(
    run_dag: Callable[..., DagRun], empirical: Emulator, tmp_path: Path
) -> None:
    """A retry re-runs what failed, and the release goes live by that.

    The gate is faster here than its file says: it looks at once, and counts on the lists of the
    local Empirical where nothing but those tells it of the try before.
    """
    empirical.script("staging", "failed", total=9, failed=2, runs=1)
    source = (EXAMPLES / "rerun_failures.py").read_text()
    faster = source.replace("deferrable=True,", "deferrable=False, poll_interval=0.1,")
    assert faster != source
    counting = "\nEmpiricalTriggerTestRunOperator.visibility_grace = 0.5\n"
    (tmp_path / "rerun_failures.py").write_text(faster + counting)
    run = run_dag("rerun_failures", tmp_path)
    assert run.states == {"success"}
    assert run.task("gate")[1] == 2
    red, again = empirical.runs
    assert (again.rerun_source_id, again.rerun_only_failed) == (red.id, True)
    assert f"run {again.id} (a re-run of {red.id})" in run.xcoms("promote")["return_value"]


@pytest.mark.usefixtures("telling")
def test_gates_share_the_run_of_their_release(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """Two gates with one key start one run, and both promotions go by its verdict."""
    empirical.script("staging", "passed", total=9)
    run = run_dag("one_run_per_release", EXAMPLES)
    assert run.states == {"success"}
    [started] = empirical.runs
    for shop in ("north", "south"):
        told = run.xcoms(f"promote_{shop}")["return_value"]
        assert told.startswith(f"The {shop} goes live: Empirical test run {started.id}")


def test_a_red_gate_leaves_a_report(
    run_dag: Callable[..., DagRun], empirical: Emulator, tmp_path: Path
) -> None:
    """The next task reads the tests of a gate that has failed, and nothing is promoted."""
    empirical.script("staging", "failed", total=9, failed=2)
    run = run_dag("report", EXAMPLES, conf={"reports": f"file://{tmp_path}"}, may_fail=True)
    states = {name: run.task(name)[0] for name in ("gate", "publish", "promote")}
    assert states == {"gate": "failed", "publish": "success", "promote": "upstream_failed"}
    assert run.xcoms("publish")["return_value"] == "2 of 9 failed."
    [report] = tmp_path.iterdir()
    assert report.name == f"{run.run_id}.xml"


def test_a_gate_in_a_task_group_goes_by_what_was_deployed(
    run_dag: Callable[..., DagRun], empirical: Emulator
) -> None:
    """The deploy task's output is the build, and its commit the one that is expected."""
    commit = "3f786850e387550fdab836ed7e6dc881de23001b"
    empirical.script("staging", "passed", commit=commit)
    run = run_dag("gate_in_task_group", EXAMPLES)
    assert run.states == {"success"}
    [started] = empirical.runs
    assert started.body["build"] == {"url": "https://staging.example.com", "commit": commit}
    assert run.xcoms("release.gate")["verdict"]["expected_commit"] == commit
    assert run.xcoms("promote")["return_value"] == "Promoted."


def test_each_service_has_its_gate(run_dag: Callable[..., DagRun], empirical: Emulator) -> None:
    """Gates are mapped over what a task has returned, each with its own environment and build."""
    run = run_dag("gate_each_service", EXAMPLES)
    assert run.states == {"success"}
    bodies = {each.body["environment"]: each.body for each in empirical.runs}
    assert (bodies["staging"]["build"], bodies["staging"]["tags"]) == (
        {"version": "1.4.0"},
        ["@checkout"],
    )
    assert (bodies["production"]["build"], "tags" in bodies["production"]) == (
        {"version": "2.0.1"},
        False,
    )
    told = {run.xcoms("promote", index)["return_value"] for index in (0, 1)}
    assert told == {f"Tested by run {each.id}." for each in empirical.runs}


def test_failed_tests_are_posted_and_burn_no_retry(
    run_dag: Callable[..., DagRun], empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback has the verdict by the exception, after the first try."""
    empirical.script("staging", "failed", total=9, failed=2)
    posted: list[str] = []

    async def chat(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        posted.append(json.loads((await receive())["body"])["text"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with served(chat) as receiver:
        monkeypatch.setenv("ALERT_URL", receiver.url)
        run = run_dag("alert_on_failure", EXAMPLES, may_fail=True)
    assert run.task("gate") == ("failed", 1)
    [text] = posted
    verdict = run.xcoms("gate")["verdict"]
    assert verdict["summary"] in text
    assert [f"- {name}" for name in verdict["failed_tests"]] == text.splitlines()[-2:]
