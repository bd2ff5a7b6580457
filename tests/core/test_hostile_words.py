"""What the service says is shown as text and nothing else, in links, logs and reports."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import EmpiricalClient, GatePolicy, TestRun, endpoints, run_report
from empirical_provider.checks import NOT_IN_A_LINE
from empirical_provider.verdict import judge
from tests.examples import examples

FORGED = "ok\n2026-11-25 ERROR forged\r\x1b[2J\x00\u2028\u202e\ud800\x85"


def read(text: str, **fields: Any) -> TestRun:
    """Read a run in which the service has put a text wherever it puts one."""
    run = {
        "id": 5,
        "state": "ended",
        "failed_count": 1,
        "total_count": 2,
        **dict.fromkeys(("test_run_branch", "created_at", "environment_slug", "commit"), text),
        "error_code": text,
        **fields,
    }
    test = {"name": text, "status": "failed", "pw_test_id": text, "nesting": [text, text]}
    odd = {"name": text, "status": f"not {text}", "pw_test_id": text}
    answer = {
        "data": {
            "test_run": {
                "testRun": run,
                "project": {"slug": text},
                "flattenedSummaryDetails": [test, odd],
            }
        }
    }
    # As it comes over the wire: JSON can hold half of a surrogate pair.
    return endpoints.get_test_run(5).read(json.loads(json.dumps(answer)))


def everything_told(run: TestRun) -> list[str]:
    verdict = judge(run, GatePolicy())
    said = [value for value in verdict.as_dict().values() if isinstance(value, str)]
    tests = [text for test in run.tests for text in (test.name, test.status, test.pw_test_id or "")]
    known = [run.branch, run.created_at, run.environment, run.commit, run.error_code, run.url]
    shown = [text for text in known if text is not None]
    return [*said, *verdict.failed_tests, *tests, *shown, str(run.state), *run.as_dict()]


@pytest.mark.seconds
@settings(max_examples=examples(80), deadline=None)
@given(text=st.one_of(st.just(FORGED), st.text(st.characters(categories=["Cc", "Cs", "Cf", "L"]))))
def test_every_text_of_the_service_is_one_line(text: str) -> None:
    """No text that is read can forge a line, steer a terminal, or fail to be written as UTF-8."""
    with EmpiricalClient(api_key="k") as client:
        run = client.with_url(read(text))
    for told in everything_told(run):
        assert re.search(NOT_IN_A_LINE, told) is None
        told.encode()
    run_report(run).as_junit()
    error = judge(run, GatePolicy()).error()
    assert [line[:4] for line in str(error).split("\n")[1:]] == ["  - "]


@pytest.mark.parametrize("slug", ["", ".", ".."])
def test_a_slug_that_leads_elsewhere_makes_no_link(slug: str) -> None:
    """A project whose slug cannot be a part of a path has no link; its run is known."""
    with EmpiricalClient(api_key="k") as client:
        assert client.with_url(read(slug)).url is None


def test_a_state_that_is_a_forgery_is_kept_as_one_line() -> None:
    """An unknown state is data, and as harmless as any other text."""
    run = read("x", state=f"started{FORGED}")
    assert not run.state.is_known
    assert re.search(NOT_IN_A_LINE, str(run.state)) is None


def test_a_number_beyond_all_numbers_is_not_told() -> None:
    """JSON can hold 1e999, which Python reads as infinity and no database takes."""
    assert read("x", duration=json.loads("1e999")).duration is None
