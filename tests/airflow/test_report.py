"""The report of a gate: it is there before the task ends, in whatever way, and hides no verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from junitparser import JUnitXml

from empirical_provider import (
    EmpiricalClient,
    InvalidRequestError,
    ReportNotWrittenError,
    TestRunRequest,
)
from empirical_provider.airflow import exceptions as host
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from empirical_provider.airflow.versions import BaseHook, find
from tests.airflow.standins import (
    AirflowFailException,
    AirflowSkipException,
    Store,
    TaskDeferred,
    TaskInstance,
    event_of,
    gate,
    run,
    sensor,
    stored,
)

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

pytestmark = pytest.mark.usefixtures("connection", "at_once")

ObjectStoragePath = find("airflow.sdk:ObjectStoragePath", "airflow.io.path:ObjectStoragePath")


@pytest.mark.parametrize(
    ("scripted", "policy", "raised", "counts"),
    [
        ("passed", None, None, (5, 0, 0)),
        ("failed", None, host.EmpiricalTestsFailedError, (5, 2, 0)),
        ("failed", {"failed": "skip"}, AirflowSkipException, (5, 2, 0)),
        ("error", None, host.EmpiricalRunErroredError, (1, 0, 1)),
        ("stuck", None, host.EmpiricalWaitTimedOutError, (1, 0, 1)),
    ],
)
def test_the_report_is_there_when_the_gate_acts(  # noqa: PLR0917  # fixtures, by name
    scripted: str,
    policy: Any,
    raised: type[Exception] | None,
    counts: tuple[int, ...],
    wait: Callable[..., Any],
    empirical: Emulator,
    tmp_path: Path,
) -> None:
    """Green, red, skipped or timed out, and however it waits: the tests are in the file by then."""
    told = {"passed": {"total": 5}, "failed": {"total": 5, "failed": 2}}
    empirical.script("staging", scripted, **told.get(scripted, {}))
    ti, path = TaskInstance(), tmp_path / "junit.xml"
    given = {"policy": policy, "timeout": 0.3 if scripted == "stuck" else 60}
    if raised is None:
        wait(ti, report_path=str(path), **given)
    else:
        with pytest.raises(raised):
            wait(ti, report_path=str(path), **given)
    suites = JUnitXml.fromfile(str(path))
    assert (suites.tests, suites.failures, suites.errors) == counts
    if scripted in told:
        of_verdict = ti.xcoms["verdict"]["counts"]
        assert (of_verdict["total"], of_verdict["failed"]) == counts[:2]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Fill the disk; return what makes room again."""

    def write_bytes(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_bytes)
        yield patched.undo


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("scripted", "policy", "raised"),
    [
        ("passed", None, ReportNotWrittenError),
        ("failed", {"failed": "pass"}, ReportNotWrittenError),
        ("failed", None, host.EmpiricalTestsFailedError),
        ("failed", {"failed": "skip"}, AirflowSkipException),
        ("error", None, host.EmpiricalRunErroredError),
    ],
)
def test_a_report_that_cannot_be_written_hides_no_verdict(  # noqa: PLR0917  # fixtures, by name
    scripted: str,
    policy: Any,
    raised: type[Exception],
    wait: Callable[..., Any],
    empirical: Emulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A closed gate fails for its own reason; an open one fails for the report, and may be retried.

    In both cases the verdict is an XCom, and verdict and trouble are told in one message.
    """
    empirical.script("staging", scripted)
    ti = TaskInstance()
    with pytest.raises(raised) as error:
        wait(ti, report_path=str(tmp_path / "junit.xml"), policy=policy)
    assert type(error.value) is raised
    assert ti.xcoms["verdict"]["outcome"] == scripted
    told = str(error.value) if raised is ReportNotWrittenError else caplog.text
    assert "No space left on device" in told
    assert ti.xcoms["verdict"]["summary"] in told


@pytest.mark.usefixtures("telling")
def test_a_retry_writes_the_report_that_is_missing(
    full: Callable[[], None], host_has: dict[str, Any], empirical: Emulator, tmp_path: Path
) -> None:
    """The next try takes the green run over and has only to write: no second run is started."""
    path = tmp_path / "junit.xml"
    ti = TaskInstance(max_tries=1)
    with pytest.raises(ReportNotWrittenError):
        run(gate(report_path=str(path), retries=1), ti, **host_has)
    full()
    run(gate(report_path=str(path), retries=1), ti.retried(), **host_has)
    [only] = empirical.runs
    assert f"Empirical test run {only.id}" in path.read_text()


def test_a_rerun_has_the_report_of_the_rerun(empirical: Emulator, tmp_path: Path) -> None:
    """Where a retry has red tests run again, the file is about the run that the verdict is on."""
    path, context = tmp_path / "report.json", {"task_state_store": Store()}
    fields = {"report_path": str(path), "retries": 1, "on_retry_after_red": "rerun_failed"}
    empirical.script("staging", "failed", total=5, failed=2)
    ti = TaskInstance(max_tries=1)
    with pytest.raises(host.EmpiricalTestsFailedRetryError):
        run(gate(**fields), ti, **context)
    first = json.loads(path.read_text())["verdict"]
    empirical.script("staging", "passed", total=2)
    run(gate(**fields), ti.retried(), **context)
    second = json.loads(path.read_text())["verdict"]
    assert [each.id for each in empirical.runs] == [first["run_id"], second["run_id"]]
    assert (first["outcome"], second["outcome"]) == ("failed", "passed")


def test_a_soft_sensor_is_skipped_for_want_of_a_report(
    full: Callable[[], None], empirical: Emulator, tmp_path: Path, api_key: str
) -> None:
    """With soft_fail the sensor is skipped where it would fail, also where it is for the report."""
    del full
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    with pytest.raises(AirflowSkipException, match="There is no report on it"):
        run(
            sensor(test_run_id=run_id, report_path=tmp_path / "junit.xml", soft_fail=True),
            TaskInstance(),
        )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("None", "report_path must name a file, not 'None': its template finds nothing"),
        (" ", "report_path must name a file"),
        (7, "report_path must be a path, .* not int"),
        ("/missing/folder/junit.xml", "report_path: no report can be written to"),
        ("nope://bucket/junit.xml", "report_path: nope://bucket/junit.xml cannot be opened"),
        ("nope://conn@bucket/junit.xml", "report_path: nope://conn@/?bucket/junit.xml cannot be"),
        ("ftp://ci:pa55-word@host/junit.xml", "report_path must be a URL without a password"),
    ],
)
def test_a_bad_path_is_refused_before_any_request(
    path: Any, message: str, empirical: Emulator
) -> None:
    """What could not be written in the end is told at once, for good, and starts nothing."""
    for task in (gate(report_path=path), sensor(test_run_id=1, report_path=path)):
        with pytest.raises(AirflowFailException, match=message) as error:
            run(task, TaskInstance())
        assert isinstance(error.value.__cause__, InvalidRequestError)
        assert "pa55-word" not in str(error.value)
    assert empirical.requests == []


def test_a_report_needs_a_verdict() -> None:
    """A task that does not wait has none to report, and says so when the DAG is parsed."""
    with pytest.raises(InvalidRequestError, match="report_path without wait_for_completion=True"):
        EmpiricalTriggerTestRunOperator(task_id="e2e", report_path="junit.xml")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have a filesystem as a provider brings it; return the passwords that opened it."""
    opened: list[str] = []

    def get_fs(conn_id: str | None, _: Any) -> MemoryFileSystem:
        if conn_id is None:
            raise PermissionError("this bucket needs a connection")
        opened.append(BaseHook.get_connection(conn_id).password)
        return MemoryFileSystem()

    places = find("airflow.sdk.io.fs:has_fs", "airflow.io:has_fs").__globals__
    monkeypatch.setitem(places["_BUILTIN_SCHEME_TO_FS"], "memory", get_fs)
    stores = find("airflow.sdk.io.store:attach", "airflow.io.store:attach").__globals__
    monkeypatch.setitem(stores, "_STORE_CACHE", {})
    places["_register_filesystems"].cache_clear()
    reports = {"conn_type": "generic", "password": "of-the-bucket"}
    monkeypatch.setenv("AIRFLOW_CONN_REPORTS", json.dumps(reports))
    yield opened
    MemoryFileSystem.store.clear()
    places["_register_filesystems"].cache_clear()


@pytest.mark.parametrize("given", [str, ObjectStoragePath], ids=["URL", "ObjectStoragePath"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_airflows_object_storage_uses_its_connection(
    given: Callable[[str], Any], deferrable: bool, bucket: list[str], empirical: Emulator
) -> None:
    """A path of the object storage, or its URL, is opened by the connection that it names."""
    empirical.script("staging", "failed", total=5, failed=2)
    path = given("memory://reports@bucket/junit.xml")
    with pytest.raises(host.EmpiricalTestsFailedError):
        run(gate(report_path=path, deferrable=deferrable), TaskInstance())
    assert set(bucket) == {"of-the-bucket"}
    [written] = MemoryFileSystem.store
    assert written.endswith("bucket/junit.xml")
    suites = JUnitXml.fromstring(MemoryFileSystem().cat_file(written))
    assert (suites.tests, suites.failures) == (5, 2)


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_opens_for_nobody_is_told_before_anything_starts(empirical: Emulator) -> None:
    """Airflow's own error about the storage is told with the path; a retry may mend it."""
    for path, why in (
        ("memory://bucket/junit.xml", "this bucket needs a connection"),
        ("memory://unknown@bucket/junit.xml", "unknown"),
    ):
        with pytest.raises(ReportNotWrittenError, match=why):
            run(gate(report_path=path), TaskInstance())
    assert empirical.requests == []


def test_a_connection_that_is_gone_hides_no_red_gate(
    bucket: list[str], empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that can no longer be opened on resume leaves a red gate red."""
    empirical.script("staging", "failed")
    ti, task = TaskInstance(), gate(report_path="memory://reports@bucket/j.xml", deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"ti": ti, "logical_date": None})
    assert bucket
    monkeypatch.delenv("AIRFLOW_CONN_REPORTS")
    stores = find("airflow.sdk.io.store:attach", "airflow.io.store:attach").__globals__
    stores["_STORE_CACHE"].clear()
    event = event_of(stored(deferred.value.trigger))
    with pytest.raises(host.EmpiricalTestsFailedError):
        task.execute_complete({"ti": ti}, event)


def test_the_triggers_event_carries_no_tests(empirical: Emulator) -> None:
    """What passes through Airflow's database is the verdict; the tests are read by the worker."""
    empirical.script("staging", "failed", total=300, failed=299)
    with pytest.raises(TaskDeferred) as deferred:
        gate(deferrable=True).execute({"ti": TaskInstance(), "logical_date": None})
    event = event_of(stored(deferred.value.trigger))
    assert set(event) == {"status", "verdict"}
    assert len(event["verdict"]["failed_tests"]) == 20


@pytest.mark.slow
@pytest.mark.swift
def test_templates_and_mapped_tasks_in_a_real_dag_run(
    run_dag: Callable[..., DagRun], empirical: Emulator, tmp_path: Path
) -> None:
    """Each mapped gate has a file of its own, and an ObjectStoragePath is rendered like a text."""
    empirical.script("staging", "passed", total=5)
    run = run_dag("reported", conf={"folder": str(tmp_path)})
    assert run.states == {"success"}
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"{run.run_id}-0.json",
        f"{run.run_id}-1.json",
        f"{run.run_id}.xml",
    ]
    of_gates = [json.loads((tmp_path / f"{run.run_id}-{n}.json").read_text()) for n in (0, 1)]
    assert [each["verdict"]["run_id"] for each in of_gates] == [
        run.xcoms("gates", n)["return_value"] for n in (0, 1)
    ]
    assert f"{run.run_id}.xml" in json.dumps(run.rendered("stored"))
