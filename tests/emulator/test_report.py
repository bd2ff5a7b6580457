"""The pages for people show a run, and nothing that they should not."""

import re
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


def test_the_report_shows_the_run(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """A report has verdict, build, metadata, counts and tests."""
    empirical.script("staging", "failed", failed=2, snoozed=1)
    run_id = api.trigger(
        build={"commit": "c0ffee", "url": "https://a.example"}, metadata={"ticket": "JIRA-1234"}
    )
    api.finish(run_id)
    page = http.get(f"/acme/test-runs/{run_id}")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for text in ("Failed", "Staging", "c0ffee", "JIRA-1234", "tests/checkout.spec.ts", "snoozed"):
        assert text in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=.?https?:", page.text)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("passed", "Passed"),
        ("snoozed", "Passed"),
        ("no_tests", "No tests"),
        ("incomplete", "Partial"),
        ("error", "Error"),
        ("cancelled", "Cancelled"),
        ("superseded", "Superseded"),
    ],
)
def test_the_report_tells_the_verdict(
    api: Any, http: httpx.Client, empirical: Emulator, outcome: str, verdict: str
) -> None:
    """Each way to end has its badge."""
    empirical.script("staging", outcome)
    run_id = api.trigger()
    api.finish(run_id)
    badge = re.search(
        r'<p><span class="badge \w+">([^<]+)', http.get(f"/acme/test-runs/{run_id}").text
    )
    assert badge is not None
    assert badge[1] == verdict


def test_the_report_escapes_everything(api: Any, http: httpx.Client) -> None:
    """What a request says is shown as text, wherever it says it."""
    evil = "<img src=x onerror=alert(1)>\"'"
    run_id = api.trigger(
        build={"url": evil, "commit": evil, "branch": evil},
        metadata={evil: evil},
        github_actor=evil,
        environment_variables_overrides=[{"name": evil, "value": "x"}],
    )
    http.post(f"/api/test-runs/{run_id}/cancel", json={"reason": evil})
    page = http.get(f"/acme/test-runs/{run_id}").text
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;") == 9


def test_the_report_never_shows_values_of_overrides(api: Any, http: httpx.Client) -> None:
    """Of overridden variables only the names are shown."""
    overrides = [{"name": "TOKEN", "value": "hunter2"}]
    run_id = api.trigger(environment_variables_overrides=overrides)
    page = http.get(f"/acme/test-runs/{run_id}").text
    assert "TOKEN" in page
    assert "hunter2" not in page


def test_the_report_does_not_move_the_run(
    api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """Looking at a page is no read."""
    run_id = api.trigger()
    for _ in range(3):
        assert "Queued" in http.get(f"/acme/test-runs/{run_id}").text
    assert empirical.runs[0].state == "queued"


def test_the_index_links_to_the_reports_without_a_key(api: Any, empirical: Emulator) -> None:
    """The index needs no key, and its links lead to reports."""
    with httpx.Client(base_url=empirical.url, trust_env=False) as browser:
        assert "No runs yet" in browser.get("/").text
        api.trigger()
        link = re.search(r'href="([^"]+)"', browser.get("/").text)
        assert link is not None
        assert browser.get(link[1]).status_code == 200


@pytest.mark.parametrize(
    "path", ["/acme/test-runs/9", "/acme/test-runs/x", "/other/test-runs/1", "/nothing"]
)
def test_an_unknown_page_is_not_found(api: Any, http: httpx.Client, path: str) -> None:
    """Unknown runs, projects and addresses lead to the same page."""
    api.trigger()
    page = http.get(path)
    assert page.status_code == 404
    assert "no such page" in page.text
