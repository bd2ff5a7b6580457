"""The report on a verdict: it is there when the gate acts, and its lack changes no verdict."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml

from empirical_provider import (
    AuthenticationError,
    ReportNotWrittenError,
    RunReport,
    ServerError,
    TestRunRequest,
    Verdict,
    write_report,
)
from empirical_provider.reporting import reporting

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin


@pytest.fixture
def judged(empirical: Emulator, ask: Twin) -> Callable[..., Verdict]:
    """Return a function that runs tests and returns the verdict."""

    def run(outcome: str, **options: Any) -> Verdict:
        counts = {"passed": {"total": 5}, "failed": {"total": 5, "failed": 2}}
        empirical.script("staging", outcome, **counts.get(outcome, {}))
        run_id = ask("trigger", TestRunRequest(environment="staging")).id
        verdict = ask.wait_for_test_run(run_id, **options)
        assert isinstance(verdict, Verdict)
        return verdict

    return run


@pytest.fixture
def report(ask: Twin) -> Callable[[Verdict, Any], None]:
    """Return what each host does with a verdict and a path."""

    def write(verdict: Verdict, path: Any) -> None:
        with reporting(verdict, path):
            run = ask("get_test_run", verdict.run_id)
            write_report(RunReport(run=run, verdict=verdict), path)

    return write


@pytest.mark.parametrize(
    ("outcome", "options", "counts"),
    [
        ("passed", {}, (5, 0, 0)),
        ("failed", {}, (5, 2, 0)),
        ("failed", {"policy": {"failed": "skip"}}, (5, 2, 0)),
        ("failed", {"policy": {"failed": "pass"}}, (5, 2, 0)),
        ("passed", {"policy": {"min_tests": 9}}, (6, 0, 1)),
        ("stuck", {"timeout": 30}, (1, 0, 1)),
    ],
)
def test_the_report_holds_the_verdict_of_the_gate(  # noqa: PLR0917  # fixtures, by name
    outcome: str,
    options: dict[str, Any],
    counts: tuple[int, ...],
    judged: Callable[..., Verdict],
    report: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The tests are in it, and what closes the gate is, also if the service tells of none."""
    caplog.set_level("INFO", "empirical_provider")
    verdict = judged(outcome, **options)
    report(verdict, tmp_path / "junit.xml")
    suites = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors) == counts
    assert caplog.messages[-1].endswith(f"is in {tmp_path / 'junit.xml'}.")


def test_a_run_that_ends_after_the_time_is_up_is_no_green_report(
    judged: Callable[..., Verdict],
    report: Callable[..., None],
    empirical: Emulator,
    tmp_path: Path,
) -> None:
    """The gate was closed by the clock: tests that pass a moment later do not open the report."""
    verdict = judged("stuck", timeout=30)
    empirical.set_state(verdict.run_id, "ended")
    report(verdict, tmp_path / "junit.xml")
    suites = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suites.failures, suites.errors) == (0, 1)
    assert "was not waited for any longer" in (tmp_path / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("outcome", "policy", "raises"),
    [
        ("passed", {}, True),
        ("failed", {"failed": "pass"}, True),
        ("failed", {}, False),
        ("error", {}, False),
        ("failed", {"failed": "skip"}, False),
    ],
)
def test_a_missing_report_changes_no_verdict(  # noqa: PLR0917  # fixtures, by name
    outcome: str,
    policy: dict[str, str],
    raises: bool,
    judged: Callable[..., Verdict],
    report: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only behind an open gate it is an error, with the verdict in it; else the log tells both."""
    verdict = judged(outcome, policy=policy)
    path = tmp_path / "gone" / "junit.xml"
    if raises:
        with pytest.raises(ReportNotWrittenError) as error:
            report(verdict, path)
        copy = pickle.loads(pickle.dumps(error.value))
        assert (copy.verdict, copy.run_id, copy.run_url) == (
            verdict.as_dict(),
            verdict.run_id,
            verdict.url,
        )
        assert copy.may_pass
        told = str(copy)
    else:
        report(verdict, path)
        [record] = [each for each in caplog.records if each.levelname == "ERROR"]
        told = record.getMessage()
    assert told.startswith(verdict.summary)
    assert f"The report cannot be written to {path}. FileNotFoundError" in told


@pytest.mark.parametrize(
    ("status", "cause", "may_pass"), [(503, ServerError, True), (401, AuthenticationError, False)]
)
def test_a_run_that_cannot_be_read_again_is_told_as_well(  # noqa: PLR0917  # fixtures, by name
    status: int,
    cause: type[Exception],
    may_pass: bool,
    judged: Callable[..., Verdict],
    report: Callable[..., None],
    empirical: Emulator,
    tmp_path: Path,
) -> None:
    """Where the service fails after a green verdict the error says so; a retry goes by its kind."""
    verdict = judged("passed")
    empirical.fault("get_test_run", "status", status=status, times=None)
    with pytest.raises(ReportNotWrittenError, match="There is no report on it") as error:
        report(verdict, tmp_path / "junit.xml")
    assert isinstance(error.value.__cause__, cause)
    assert error.value.may_pass is may_pass
    assert list(tmp_path.iterdir()) == []


def test_trouble_of_a_host_hides_no_verdict(
    judged: Callable[..., Verdict], caplog: pytest.LogCaptureFixture
) -> None:
    """Errors that are none of ours are told with the verdict; a signal to stop gets through."""
    with reporting(judged("failed"), "junit.xml"):
        raise KeyError("no such connection")
    assert "2 of 5 failed" in caplog.messages[-1]
    assert "KeyError: 'no such connection'" in caplog.messages[-1]
    with pytest.raises(ReportNotWrittenError), reporting(judged("passed"), "junit.xml"):
        raise KeyError("no such connection")
    with pytest.raises(KeyboardInterrupt), reporting(judged("failed"), "junit.xml"):
        raise KeyboardInterrupt
