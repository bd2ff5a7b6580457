"""The results of a run for other tools: JUnit XML, which most of them read, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from empirical_provider.destinations import (
    Destination,
    LocalFile,
    StoredFile,
    destination_of,
    told,
)
from empirical_provider.exceptions import InvalidRequestError, ReportNotWrittenError
from empirical_provider.models import TestResult, TestRun
from empirical_provider.policy import GatePolicy
from empirical_provider.verdict import Verdict, judge

__all__ = ["RunReport", "check_writable", "run_report", "write_report"]

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold; a test's title can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run and what it came to.

    Attributes:
        run: The run, with its tests.
        verdict: The verdict on it; None while it goes on.
    """

    run: TestRun
    verdict: Verdict | None

    def as_json(self) -> str:
        """Return run, tests and verdict as JSON."""
        tests = [asdict(test) for test in self.run.tests or ()]
        verdict = None if self.verdict is None else self.verdict.as_dict()
        return json.dumps(
            {"test_run": self.run.as_dict(), "verdict": verdict, "tests": tests}, indent=2
        )

    def as_junit(self) -> str:
        """Return the tests as JUnit XML: one suite, with a case for each test.

        A failure that is snoozed is a skipped case that says so, and a flaky test is a passed one.
        Where the gate is closed and no test has failed (too few ran, the run is in error, it goes
        on) one more case is an error that says why: no reader takes the report for green.

        Raises:
            InvalidRequestError: The library that writes it is not installed.
        """
        suite = self._suite()
        document: Any = _junitparser().JUnitXml(f"Empirical test run {self.run.id}")
        document.add_testsuite(suite)
        for count in ("tests", "failures", "errors"):  # what the schema has for all suites together
            setattr(document, count, getattr(suite, count))
        text: str = document.tostring().decode()
        return text

    def _suite(self) -> Any:
        library = _junitparser()
        where = f" in {self.run.environment}" if self.run.environment else ""
        suite: Any = library.TestSuite(_text(f"Empirical test run {self.run.id}{where}"))
        if self.run.created_at:
            suite.timestamp = _text(self.run.created_at)
        for name, value in self._properties():
            suite.add_property(name, _text(value))
        suite.add_testcases([self._case(test) for test in self.run.tests or ()])
        why = self._closed_without_a_failure()
        if why is not None:
            case = library.TestCase(f"Empirical test run {self.run.id}", "empirical")
            case.result = [library.Error(_text(why))]
            suite.add_testcase(case)
        suite.update_statistics()
        return suite

    def _case(self, test: TestResult) -> Any:
        library = _junitparser()
        file, _, title = test.name.partition(" > ")
        case = library.TestCase(_text(title or file), _text(file))
        told = (f"{test.name} failed.", self.run.url)
        match test.kind:
            case "failed" if test.snoozed:
                case.result = [library.Skipped("It failed, and its failure is snoozed.")]
            case "failed":
                case.result = [library.Failure(_text(" ".join(filter(None, told))))]
            case "skipped":
                case.result = [library.Skipped()]
            case "flaky":
                case.system_out = "It is flaky: it passed on a retry."
            case "passed":
                pass
            case _:
                case.result = [library.Error(_text(f"It has the unknown status {test.status!r}."))]
        return case

    def _closed_without_a_failure(self) -> str | None:
        if self.verdict is None:
            return f"The run is {self.run.state}: there is no verdict yet."
        counted = any(test.kind == "failed" and not test.snoozed for test in self.run.tests or ())
        return self.verdict.summary if self.verdict.is_closed and not counted else None

    def _properties(self) -> Iterator[tuple[str, str]]:
        told: Mapping[str, Any] = self.run.as_dict()
        counts: Mapping[str, Any] = {} if self.verdict is None else self.verdict.as_dict()["counts"]
        outcome = {} if self.verdict is None else {"outcome": self.verdict.outcome}
        for name, value in {**told, **outcome, **counts}.items():
            if value is not None:
                yield f"empirical.{name}", str(value)


def run_report(run: TestRun, policy: GatePolicy | Mapping[str, Any] | None = None) -> RunReport:
    """Return the report on a run, as `get_test_run` reads it.

    Args:
        run: The run.
        policy: What the verdict goes by: a `GatePolicy`, a mapping of its fields, or the default.
    """
    verdict = judge(run, GatePolicy.of(policy)) if run.state.is_terminal else None
    return RunReport(run=run, verdict=verdict)


def write_report(report: RunReport, path: Destination) -> None:
    """Write a report to a file, as JSON if its name ends in ``.json`` and as JUnit XML otherwise.

    A local file appears whole or not at all: it is written beside, and renamed; so is a file by FTP
    or SFTP. An object store has an object once all of it has been sent. Another filesystem of
    fsspec may show the file while it is written. A file that is there is replaced, also where a
    link leads to it; a pipe or a device is written to at once.

    Args:
        report: The report.
        path: A local path; a URL of fsspec, such as ``s3://bucket/junit.xml``; or a path that knows
            its filesystem, such as Airflow's ``ObjectStoragePath`` or a ``UPath``.

    Raises:
        InvalidRequestError: The path names no file, nothing here knows its protocol, or the library
            for JUnit is missing.
        ReportNotWrittenError: It could not be written.
    """
    target = destination_of(path, field="path")
    text = report.as_json() if _is_json(target) else report.as_junit()
    try:
        target.write(text.encode())
    except Exception as error:  # filesystems raise whatever they like
        raise ReportNotWrittenError(
            f"The report cannot be written to {target}. {told(error)}"
        ) from error


def check_writable(path: Destination, *, field: str = "path") -> None:
    """Refuse a path to which no report could be written, before there is anything to report.

    Only a local folder is looked at. Whether a bucket is there and may be written to is known when
    it is written to.

    Args:
        path: As for `write_report`.
        field: What the path is called in messages.

    Raises:
        InvalidRequestError: It names no file, or no folder that may be written to; nothing here
            knows its protocol; a password is in it; or the library for JUnit is missing.
        ReportNotWrittenError: The filesystem could not be opened, which may pass.
    """
    target = destination_of(path, field=field)
    target.check(field)
    if not _is_json(target):
        _junitparser()


def _is_json(target: LocalFile | StoredFile) -> bool:
    return target.suffix.lower() == ".json"


def _text(value: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", value)


def _junitparser() -> Any:
    try:
        import junitparser  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise InvalidRequestError(
            'A JUnit report needs: pip install "empirical-provider[reports]".'
        ) from error
    return junitparser
