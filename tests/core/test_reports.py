"""Reports: what other tools read of a run is what the verdict says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from empirical_provider import (
    TestResult,
    TestRun,
    TestRunRequest,
    TestRunState,
)
from empirical_provider.reports import run_report, write_report

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin


SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("schemas") / "junit-10.xsd")


def report_on(empirical: Emulator, ask: Twin, outcome: str, **counts: Any) -> Any:
    empirical.script("staging", outcome, **counts)
    run_id = ask("trigger", TestRunRequest(environment="staging")).id
    for _ in range(6):
        run = ask("get_test_run", run_id)
    return run_report(run)


def suite_of(junit: str) -> ET.Element:
    suite = ET.fromstring(junit.encode()).find("testsuite")  # noqa: S314  # our own text
    assert suite is not None
    return suite


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        ("passed", {"total": 8, "skipped": 2}),
        ("failed", {"total": 8, "failed": 3, "flaky": 1, "skipped": 2}),
        ("failed", {"total": 8, "failed": 3, "snoozed": 1}),
        ("snoozed", {"total": 4, "failed": 2, "snoozed": 2}),
    ],
)
def test_the_counts_are_those_of_the_verdict(
    outcome: str, counts: dict[str, int], empirical: Emulator, ask: Twin
) -> None:
    """Cases, failures and skipped cases add up to what the verdict counts."""
    report = report_on(empirical, ask, outcome, **counts)
    SCHEMA.validate(report.as_junit())
    told, suite = report.verdict.counts, suite_of(report.as_junit())
    snoozed = told.failed - told.failed_after_snoozing
    assert int(suite.attrib["tests"]) == told.total + told.skipped == len(suite.findall("testcase"))
    assert int(suite.attrib["failures"]) == told.failed_after_snoozing
    assert int(suite.attrib["skipped"]) == told.skipped + snoozed
    assert int(suite.attrib["errors"]) == 0
    flaky = [case for case in suite.iter("system-out") if "flaky" in (case.text or "")]
    assert len(flaky) == told.flaky
    properties = {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")}
    assert properties["empirical.url"] == report.run.url
    assert properties["empirical.outcome"] == report.verdict.outcome
    assert properties["empirical.failed"] == str(told.failed)


@pytest.mark.parametrize("outcome", ["error", "cancelled", "superseded", "no_tests", "incomplete"])
def test_a_closed_gate_is_never_a_green_report(
    outcome: str, empirical: Emulator, ask: Twin
) -> None:
    """Where no test has failed and the gate is closed, an error says why."""
    report = report_on(empirical, ask, outcome)
    SCHEMA.validate(report.as_junit())
    suite = suite_of(report.as_junit())
    assert suite.attrib["errors"] == "1"
    [error] = suite.iter("error")
    assert report.verdict.summary in error.attrib["message"]


def test_a_run_that_goes_on_is_no_green_report() -> None:
    """There is no verdict yet, and the report says so."""
    report = run_report(TestRun(id=7, state=TestRunState.STARTED))
    assert report.verdict is None
    SCHEMA.validate(report.as_junit())
    assert "there is no verdict yet" in report.as_junit()
    assert suite_of(report.as_junit()).attrib["errors"] == "1"


def test_whatever_stands_in_a_title_can_be_read() -> None:
    """Control characters, markup and lone surrogates leave the file readable."""
    title = "a.spec.ts > \x1b[31m<b>&\ud800\x00 ]]> \U0001f600"
    tests = (TestResult(name=title, status="failed"), TestResult(name="b", status="timedOut"))
    run = TestRun(id=7, state=TestRunState.ENDED, total_count=2, failed_count=1, tests=tests)
    SCHEMA.validate(run_report(run).as_junit())
    suite = suite_of(run_report(run).as_junit())
    first, second = suite.findall("testcase")
    assert first.attrib["classname"] == "a.spec.ts"
    assert first.attrib["name"] == "\ufffd[31m<b>&\ufffd\ufffd ]]> \U0001f600"
    assert second.find("error") is not None


STATUSES = ("passed", "failed", "flaky", "skipped")
ODD = ("", " > ", "a > ", " > b", "a > b > c", "<!-- &amp; ]]>", "\x00\x1b", "\U0001f600", "\ud800")
NAMES = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(ODD)
TESTS = st.lists(
    st.builds(TestResult, name=NAMES, status=st.sampled_from(STATUSES), snoozed=st.booleans()),
    max_size=12,
)


@given(tests=TESTS, where=st.none() | NAMES)
def test_any_run_that_has_ended_is_a_valid_file_with_its_counts(
    tests: list[TestResult], where: str | None
) -> None:
    """Whatever tests are called and became of, the schema holds and another reader counts alike."""
    count = {each: sum(test.status == each for test in tests) for each in STATUSES}
    snoozed = sum(test.status == "failed" and test.snoozed for test in tests)
    run = TestRun(
        id=7,
        state=TestRunState.ENDED,
        environment=where,
        url=where,
        branch=where,
        total_count=len(tests) - count["skipped"],
        success_count=count["passed"],
        failed_count=count["failed"],
        failed_count_after_snoozing=count["failed"] - snoozed,
        skipped_count=count["skipped"],
        flaky_count=count["flaky"],
        tests=tuple(tests),
    )
    report = run_report(run)
    SCHEMA.validate(report.as_junit())
    suites = JUnitXml.fromstring(report.as_junit().encode())
    assert report.verdict is not None
    told, none_ran = report.verdict.counts, report.verdict.outcome == "no_tests"
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == (
        (told.total or 0) + (told.skipped or 0) + none_ran,
        told.failed_after_snoozing,
        none_ran,
        (told.skipped or 0) + snoozed,
    )
    assert (suites.failures + suites.errors > 0) is report.verdict.is_closed


def test_a_report_is_written_whole(empirical: Emulator, ask: Twin, tmp_path: Path) -> None:
    """The suffix says which form it has, and nothing unfinished is left beside it."""
    report = report_on(empirical, ask, "failed", total=5, failed=2)
    for name in ("report.xml", "report.json"):
        write_report(report, tmp_path / name)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.json", "report.xml"]
    assert (tmp_path / "report.xml").read_text() == report.as_junit()
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["verdict"] == report.verdict.as_dict()
    assert sum(test["status"] == "failed" for test in told["tests"]) == 2
