"""Where reports go: files and filesystems of many kinds, each written whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from empirical_provider import (
    InvalidRequestError,
    ReportNotWrittenError,
    TestResult,
    TestRun,
    TestRunState,
    run_report,
    write_report,
)
from empirical_provider.reports import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = run_report(
    TestRun(
        id=7,
        state=TestRunState.ENDED,
        total_count=1,
        failed_count=0,
        tests=(TestResult(name="a.spec.ts > works", status="passed"),),
    )
)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """Return a filesystem that forgets all it had after the test."""
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


class StoragePath:
    """A path with its filesystem: all that is used of Airflow's, or of a UPath."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self.path = path

    @property
    def fs(self) -> Any:
        if isinstance(self._fs, Exception):
            raise self._fs
        return self._fs

    def __str__(self) -> str:
        return f"storage://{self.path}"


class GrowingFileSystem(LocalFileSystem):
    """Stands in for a file server: what is written there can be seen at once."""

    protocol = "sftp"


class BrokenFileSystem(MemoryFileSystem):
    """Stands in for an object store that refuses to take anything."""

    protocol = "s3"
    cachable = False

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        size = len(value)
        raise PermissionError(f"403 for https://s3.example/{path}?X-Amz-Signature=abc: {size} B")


@pytest.mark.parametrize("name", ["junit.xml", "report.json", "report.JSON", "no suffix"])
@pytest.mark.parametrize("kind", ["text", "Path", "file://", "local path with its filesystem"])
def test_a_local_file_can_be_named_in_many_ways(name: str, kind: str, tmp_path: Path) -> None:
    """Each way leads to the file; its suffix says which form it has, and it stands there alone."""
    file = tmp_path / name
    path = {
        "text": str(file),
        "Path": file,
        "file://": f"file://{file}",
        "local path with its filesystem": StoragePath(LocalFileSystem(), str(file)),
    }[kind]
    check_writable(path)
    write_report(REPORT, path)
    is_json = name.lower().endswith("json")
    assert file.read_text() == (REPORT.as_json() if is_json else REPORT.as_junit())
    assert list(tmp_path.iterdir()) == [file]


def test_a_url_leads_to_its_filesystem(memory: MemoryFileSystem) -> None:
    """A report arrives whole where a URL of fsspec says, and replaces an earlier one."""
    for path in ("memory://ci/junit.xml", "memory://ci/report.json"):
        memory.pipe_file(path, b"an earlier one")
        check_writable(path)
        write_report(REPORT, path)
    assert memory.cat_file("/ci/junit.xml").decode() == REPORT.as_junit()
    assert json.loads(memory.cat_file("/ci/report.json"))["test_run"]["id"] == 7


def test_a_path_with_a_filesystem_is_written_by_that_one(memory: MemoryFileSystem) -> None:
    """The filesystem of the path is used, with whatever credentials it was made of."""
    path = StoragePath(memory, "/bucket/junit.xml")
    check_writable(path)
    write_report(REPORT, path)
    assert memory.cat_file("/bucket/junit.xml").decode() == REPORT.as_junit()


def cut_short(file: Any, data: bytes) -> None:
    """Write half of it, as a disk does that is full then."""
    file.write(data[:10])
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("there", [None, "an earlier report"])
@pytest.mark.parametrize("growing", [False, True])
def test_what_is_written_half_never_shows(
    growing: bool, there: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing breaks off there is the earlier file or none, on this machine and elsewhere."""
    file = tmp_path / "junit.xml"
    if there is not None:
        file.write_text(there)

    def write_bytes(self: Path, data: bytes) -> None:
        with self.open("wb") as opened:
            cut_short(opened, data)

    def pipe_file(self: Any, path: str, value: bytes, **_: Any) -> None:
        with self.open(path, "wb") as opened:
            cut_short(opened, value)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(GrowingFileSystem, "pipe_file", pipe_file)
    path = StoragePath(GrowingFileSystem(), str(file)) if growing else file
    with pytest.raises(ReportNotWrittenError, match="No space left on device") as error:
        write_report(REPORT, path)
    assert error.value.may_pass
    assert [each.read_text() for each in tmp_path.iterdir()] == ([] if there is None else [there])


def test_a_file_that_grows_elsewhere_is_moved_when_it_is_whole(tmp_path: Path) -> None:
    """On a file server, too, the report is there in the end."""
    file = tmp_path / "junit.xml"
    write_report(REPORT, StoragePath(GrowingFileSystem(), str(file)))
    assert file.read_text() == REPORT.as_junit()


def test_a_store_that_refuses_is_told_without_what_signs_a_url() -> None:
    """The error names the place and the trouble, and no signature."""
    with pytest.raises(ReportNotWrittenError) as error:
        write_report(REPORT, StoragePath(BrokenFileSystem(), "bucket/junit.xml"))
    assert str(error.value) == (
        "The report cannot be written to storage://bucket/junit.xml. "
        f"PermissionError: 403 for https://s3.example/bucket/junit.xml {len(REPORT.as_junit())} B"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "report_path must be a non-empty string, not an empty str"),
        (7, "report_path must be a path, a URL or a path of an object storage, not int"),
        (None, "report_path must be a path, .* not NoneType"),
        (b"junit.xml", "report_path must be a path, .* not bytes"),
        ("nope://bucket/junit.xml", "report_path: nope://bucket/junit.xml cannot be opened.*nope"),
        ("memory://ci/", "report_path: memory://ci/ names no file"),
        ("data:///junit.xml", "report_path: data:///junit.xml can be read, but not written"),
        (StoragePath(ImportError("install s3fs"), "b/j.xml"), "cannot be opened.*install s3fs"),
    ],
)
def test_what_is_no_place_for_a_file_is_refused_early(path: Any, message: str) -> None:
    """It is refused by the user's own name for it, with what was given and what is allowed."""
    with pytest.raises(InvalidRequestError, match=message):
        check_writable(path, field="report_path")


def test_a_folder_that_is_not_there_is_refused_early(tmp_path: Path) -> None:
    """A folder, or a file in a folder that is not there, is refused before anything is run."""
    missing = tmp_path / "missing" / "report.xml"
    for path in (tmp_path, missing, f"file://{tmp_path}", "/", "/report\0.xml"):
        with pytest.raises(InvalidRequestError, match="path: no report can be written to /"):
            check_writable(path)
    with pytest.raises(ReportNotWrittenError, match="No such file or directory"):
        write_report(REPORT, missing)


def test_a_name_that_is_found_wanting_late_is_no_crash(tmp_path: Path) -> None:
    """What only writing can find out is told in the same way, and nothing is left behind."""
    path = tmp_path / f"{'x' * 300}.xml"
    check_writable(path)
    with pytest.raises(ReportNotWrittenError, match="File name too long"):
        write_report(REPORT, path)
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    """Paths are shown and stored by hosts, so none may hold a secret; a user's name may stand."""
    with pytest.raises(InvalidRequestError, match="a URL without a password") as error:
        check_writable("ftp://ci:pa55-word@files.example/junit.xml", field="report_path")
    assert "pa55-word" not in str(error.value)
    check_writable("memory://ci@files/a:b@c.xml")


def test_a_filesystem_that_cannot_be_opened_may_be_tried_again() -> None:
    """A file server that is down is told apart from a path that is wrong."""
    path = StoragePath(ConnectionRefusedError(111, "Connection refused"), "junit.xml")
    with pytest.raises(ReportNotWrittenError, match=r"cannot be opened.*Connection refused"):
        check_writable(path)


def test_without_fsspec_only_urls_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named where it is needed, and a local file does without it."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InvalidRequestError, match=r"pip install .empirical-provider\[reports\]"):
        check_writable("memory://junit.xml")
    check_writable(tmp_path / "junit.xml")
    check_writable(f"file://{tmp_path}/junit.xml")


def test_a_missing_driver_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that fsspec knows, and whose package is not there, is refused with its name."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InvalidRequestError, match=r"cannot be opened.*ImportError: Install s3fs"):
        check_writable("s3://bucket/junit.xml")


@pytest.mark.parametrize("target", ["a file", "nothing yet", "a link", "a relative one"])
def test_a_link_stays_and_what_it_leads_to_is_replaced(target: str, tmp_path: Path) -> None:
    """Who has put a link there finds the report where it leads to, and the link as it was."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file, link = elsewhere / "junit.xml", tmp_path / "link.xml"
    if target != "nothing yet":
        file.write_text("an earlier one")
    if target == "a link":
        (elsewhere / "other.xml").symlink_to(file)
    leads_to = {"a link": elsewhere / "other.xml", "a relative one": Path("elsewhere/junit.xml")}
    link.symlink_to(leads_to.get(target, file))
    before = sorted(each for each in tmp_path.rglob("*"))
    check_writable(link)
    write_report(REPORT, link)
    assert link.is_symlink()
    assert not file.is_symlink()
    assert file.read_text() == REPORT.as_junit()
    assert sorted(tmp_path.rglob("*")) == sorted({*before, file})


def test_a_link_to_nowhere_is_refused_early(tmp_path: Path) -> None:
    """A link into a folder that is not there is no place for a report."""
    link = tmp_path / "link.xml"
    link.symlink_to(tmp_path / "missing" / "junit.xml")
    with pytest.raises(InvalidRequestError, match="no report can be written to"):
        check_writable(link)
    loop = tmp_path / "loop.xml"
    loop.symlink_to(loop)
    with pytest.raises(ReportNotWrittenError, match="cannot be written"):
        write_report(REPORT, loop)
    assert loop.is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """Who reads a named pipe gets the report, and the pipe stays one."""
    pipe = tmp_path / "report.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_writable(pipe)
        write_report(REPORT, pipe)
        assert os.read(reader, 1_000_000).decode() == REPORT.as_json()
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_pipe_that_nobody_reads_is_an_error_at_once(tmp_path: Path) -> None:
    """A gate does not wait for somebody to come and read its report."""
    pipe = tmp_path / "report.json"
    os.mkfifo(pipe)
    with pytest.raises(ReportNotWrittenError, match="No such device or address"):
        write_report(REPORT, pipe)
    assert pipe.is_fifo()


def test_a_device_is_written_to() -> None:
    """A terminal shows the report, and stays one. (No test names a device that others need.)"""
    ours, theirs = os.openpty()
    try:
        terminal = os.ttyname(theirs)
        check_writable(terminal)
        write_report(REPORT, terminal)
        shown = os.read(ours, 100_000).decode()
        assert Path(terminal).is_char_device()
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == REPORT.as_junit()


WRITES = """
import sys
from pathlib import Path
from empirical_provider import TestRun, TestRunState, run_report, write_report
from empirical_provider.reports import check_writable

print("before")
check_writable(sys.argv[1])
run = TestRun(id=7, state=TestRunState.ENDED, total_count=1, failed_count=0)
write_report(run_report(run), sys.argv[1])
print("after")
"""


@pytest.mark.parametrize("path", ["/dev/fd/1", "/proc/self/fd/2", "a link as /dev/stdout is one"])
@pytest.mark.parametrize("into", ["a file", "a pipe"])
def test_the_own_output_is_written_to(path: str, into: str, tmp_path: Path) -> None:
    """A report on standard output comes in its turn, wherever that goes."""
    file = tmp_path / "out"
    if path.startswith("a link"):
        link = tmp_path / "stdout"
        link.symlink_to("/proc/self/fd/1")
        path = str(link)
    with file.open("wb") as output:
        stream = output if into == "a file" else subprocess.PIPE
        done = subprocess.run(
            [sys.executable, "-c", WRITES, path],
            check=True,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    told = (file.read_bytes() if into == "a file" else done.stdout).decode()
    assert told.startswith("before\n<testsuites ")
    assert told.endswith("</testsuites>after\n")
    assert told.count("testsuites") == 2
