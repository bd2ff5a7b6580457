"""The report of a task: it is there before red raises, and hides no verdict."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from junitparser import JUnitXml

from empirical_provider import (
    GateClosedError,
    InvalidRequestError,
    ReportNotWrittenError,
    RunErroredError,
    TestsFailedError,
    WaitTimedOutError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    arun_tests,
    await_for_test_run,
    run_empirical_tests,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

if TYPE_CHECKING:
    from conftest import Twin


@pytest.fixture(
    params=[run_tests, arun_tests, wait_for_test_run, await_for_test_run],
    ids=lambda each: each.fn.__name__,
)
def gated(request: pytest.FixtureRequest, call: dict[str, Any]) -> Callable[..., Any]:
    """Return what starts a run in staging and waits for it, by one task or by two."""
    task = request.param

    def run(**options: Any) -> Any:
        arguments = {**call, "poll_interval": 0.01, **options}
        if task in {wait_for_test_run, await_for_test_run}:
            del arguments["environment"]
            arguments["test_run_id"] = trigger_test_run.fn(**call)["id"]
        result = task.fn(**arguments)
        return asyncio.run(result) if task.isasync else result

    return run


EXAMPLE = Path(__file__).parents[2] / "flows_examples" / "report.py"

TOLD: dict[str, dict[str, int]] = {"passed": {"total": 5}, "failed": {"total": 5, "failed": 2}}


@pytest.mark.parametrize(
    ("scripted", "policy", "raised", "counts"),
    [
        ("passed", None, None, (5, 0, 0)),
        ("failed", None, TestsFailedError, (5, 2, 0)),
        ("failed", {"failed": "skip"}, None, (5, 2, 0)),
        ("error", None, RunErroredError, (1, 0, 1)),
        ("stuck", None, WaitTimedOutError, (1, 0, 1)),
    ],
)
def test_the_report_is_there_when_the_task_ends(  # noqa: PLR0917  # fixtures, by name
    scripted: str,
    policy: Any,
    raised: type[GateClosedError] | None,
    counts: tuple[int, ...],
    gated: Callable[..., Any],
    empirical: Emulator,
    tmp_path: Path,
) -> None:
    """Green, red, skipped or timed out: the tests are in the file, with the verdict's counts."""
    empirical.script("staging", scripted, **TOLD.get(scripted, {}))
    path = tmp_path / "junit.xml"
    given = {"policy": policy, "timeout": 0.3 if scripted == "stuck" else 60, "report_path": path}
    if raised is None:
        verdict = gated(**given)
    else:
        with pytest.raises(raised) as error:
            gated(**given)
        verdict = error.value.verdict or {}
    suites = JUnitXml.fromfile(str(path))
    assert (suites.tests, suites.failures, suites.errors) == counts
    if scripted in TOLD:
        assert (verdict["counts"]["total"], verdict["counts"]["failed"]) == counts[:2]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Fill the disk for as many reports as the list says."""
    left, write_bytes = [1], Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if not path.name.endswith(".unfinished") or left[0] == 0:  # Prefect's own files are fine
            return write_bytes(path, data)
        left[0] -= 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    return left


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("scripted", "policy", "raised"),
    [
        ("passed", None, ReportNotWrittenError),
        ("failed", None, TestsFailedError),
        ("failed", {"failed": "skip"}, None),
    ],
)
def test_a_report_that_cannot_be_written_hides_no_verdict(  # noqa: PLR0917  # fixtures, by name
    scripted: str,
    policy: Any,
    raised: type[Any] | None,
    gated: Callable[..., Any],
    empirical: Emulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Red stays red and a skip is returned; green fails for the report, with the verdict in it."""
    empirical.script("staging", scripted)
    given = {"report_path": str(tmp_path / "junit.xml"), "policy": policy}
    if raised is None:
        verdict, told = gated(**given), caplog.text
    else:
        with pytest.raises(raised) as error:
            gated(**given)
        verdict = error.value.verdict
        told = str(error.value) if raised is ReportNotWrittenError else caplog.text
    assert verdict["outcome"] == scripted
    assert verdict["summary"] in told
    assert "No space left on device" in told


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "report_path must be a non-empty string"),
        (7, "report_path must be a path, .* not int"),
        ("/missing/folder/junit.xml", "report_path: no report can be written to"),
        ("nope://bucket/junit.xml", "report_path: nope://bucket/junit.xml cannot be opened"),
        ("ftp://ci:pa55-word@host/junit.xml", "report_path must be a URL without a password"),
    ],
)
def test_a_bad_path_starts_nothing(
    path: Any, message: str, running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """What could not be written in the end is refused by name before any request."""
    with pytest.raises(InvalidRequestError, match=message) as error:
        running.without_prefect(**gate, report_path=path)
    assert "pa55-word" not in str(error.value)
    assert empirical.requests == []


def test_the_report_may_go_to_a_url(
    running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """A URL of fsspec is written to, in JSON if it says so."""
    empirical.script("staging", "passed", total=5)
    running.without_prefect(**gate, report_path="memory://ci/report.json")
    told = json.loads(MemoryFileSystem().cat_file("/ci/report.json"))
    MemoryFileSystem.store.clear()
    assert told["verdict"]["counts"]["total"] == 5


def test_outside_of_a_flow_a_retry_would_start_a_second_run(
    full: list[int], running: Twin, gate: dict[str, Any], empirical: Emulator, tmp_path: Path
) -> None:
    """Where no attempt knows of another one, the task is not tried again for want of a report."""
    with pytest.raises(ReportNotWrittenError):
        running.with_options(retries=2)(**gate, report_path=tmp_path / "junit.xml")
    assert (len(empirical.runs), full) == (1, [0])


@pytest.mark.slow  # a flow run takes seconds
def test_in_a_flow_a_retry_writes_the_report_that_is_missing(
    full: list[int], running: Twin, gate: dict[str, Any], empirical: Emulator, tmp_path: Path
) -> None:
    """The next attempt of the task takes the green run over, and has only to write."""
    path = tmp_path / "junit.xml"
    state = running.with_options(retries=1).in_flow({**gate, "report_path": path})
    [run] = empirical.runs
    assert full == [0]
    assert [each["run_id"] for each in state.result()] == [run.id]
    assert f"Empirical test run {run.id}" in path.read_text()


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_jobs_run_leaves_a_report(
    outcome: str, credentials: EmpiricalCredentials, empirical: Emulator, tmp_path: Path
) -> None:
    """Who waits by a job's handle says where its report goes; red ones have one, too."""
    empirical.script("staging", outcome, **TOLD[outcome])
    job = EmpiricalTestJob(credentials=credentials, environment="staging", poll_interval=0.01)
    run = job.trigger()
    if outcome == "passed":
        run.wait_for_completion(report_path=tmp_path / "junit.xml")
    else:
        with pytest.raises(TestsFailedError):
            run.wait_for_completion(report_path=tmp_path / "junit.xml")
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).tests == 5
    assert run.fetch_result()["outcome"] == outcome


@pytest.mark.usefixtures("full")
def test_a_jobs_run_keeps_the_verdict_of_a_missing_report(
    credentials: EmpiricalCredentials, tmp_path: Path
) -> None:
    """A green verdict can be fetched though the report could not be written."""
    job = EmpiricalTestJob(credentials=credentials, environment="staging", poll_interval=0.01)
    run = job.trigger()
    with pytest.raises(ReportNotWrittenError):
        run.wait_for_completion(report_path=tmp_path / "junit.xml")
    assert run.fetch_result()["outcome"] == "passed"


@pytest.mark.slow  # a flow run takes seconds
def test_the_ready_flow_leaves_a_report_also_when_red(
    credentials: EmpiricalCredentials, empirical: Emulator, tmp_path: Path
) -> None:
    """A deployment names the file by a parameter, and the flow run fails with it there."""
    credentials.save("prod", overwrite=True)
    empirical.script("staging", "failed", total=5, failed=2)
    state = run_empirical_tests(
        credentials="prod",
        environment="staging",
        poll_interval=0.05,
        report_path=str(tmp_path / "report.json"),
        return_state=True,
    )
    assert state.is_failed()
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["verdict"]["outcome"], len(told["tests"])) == ("failed", 5)


@pytest.mark.slow  # a flow run takes seconds
def test_the_example_publishes_the_report_of_a_red_gate(
    credentials: EmpiricalCredentials, empirical: Emulator, tmp_path: Path
) -> None:
    """The next task reads the tests, red or green, and only green goes live."""
    credentials.save("prod", overwrite=True)
    example = runpy.run_path(str(EXAMPLE))["release"]
    given = {"reports": f"file://{tmp_path}", "poll_interval": 0.05}
    empirical.script("staging", "failed", total=9, failed=2)
    state = example(**given, return_state=True)
    assert isinstance(state.result(raise_on_failure=False), TestsFailedError)
    [report] = tmp_path.iterdir()
    assert report.name == f"{state.state_details.flow_run_id}.xml"
    suites = JUnitXml.fromfile(str(report))
    assert (suites.tests, suites.failures) == (9, 2)
    empirical.script("staging", "passed", total=9)
    assert example(**given).startswith("Live: 0 of 9 failed. Empirical test run 2 ")
