"""The service has a clock of its own, and everything it says goes by it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


def _date(answer: httpx.Response) -> float:
    (date,) = answer.headers.get_list("date")
    return parsedate_to_datetime(date).timestamp()


@pytest.mark.parametrize("skew", [-3600.5, 0, 90])
def test_every_time_is_by_the_clock_of_the_service(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any], skew: float
) -> None:
    """Date header, answer to the trigger, list, detail, snapshot and report tell one time."""
    timed.behave(clock_skew=skew)
    http = api_for(timed).http
    answer = http.put("/api/test-runs", json={"environment": "staging"})
    created = answer.json()["data"]["test_run"]["created_at"]
    assert datetime.fromisoformat(created).timestamp() == clock.now + skew
    assert _date(answer) == (clock.now + skew) // 1
    clock.now += 3
    item = http.get("/api/test-runs").json()["data"]["test_runs"]["items"][0]
    detail = http.get("/api/test-runs/1").json()["data"]["test_run"]["testRun"]
    assert created == item["created_at"] == detail["created_at"] == timed.runs[0].created_at
    started = datetime.fromisoformat(detail["run_started_at"]).timestamp()
    assert started == clock.now - 1 + skew
    assert created in http.get("/acme/test-runs/1").text


def test_a_clock_that_is_set_changes_no_run(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """A run keeps the time at which it was created, and moves no faster."""
    api = api_for(timed)
    run_id = api.trigger()
    created = timed.runs[0].created_at
    timed.behave(clock_skew=7200)
    run = api.detail(run_id)["testRun"]
    assert (run["created_at"], run["state"]) == (created, "queued")
    assert _date(api.http.get("/api/test-runs")) == clock.now + 7200


def test_every_answer_has_one_date(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """Answers, refusals, pages and the control plane are dated by the service's clock."""
    timed.behave(clock_skew=60)
    http = api_for(timed).http
    for path in ("/api/test-runs", "/api/test-runs/9", "/api/nothing", "/", "/x", "/_emulator/"):
        assert _date(http.get(path)) == clock.now + 60
    for refused in ({"authorization": ""}, {"host": "evil.example"}):
        assert _date(http.get("/api/test-runs", headers=refused)) == clock.now + 60


def test_faults_have_the_date_too(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """What a fault answers is dated like any other answer."""
    timed.behave(clock_skew=60)
    timed.fault("*", "status", status=503)
    timed.fault("*", "redirect", message="/x")
    for effect in ("malformed", "html", "truncated"):
        timed.fault("*", effect)
    for _ in range(5):
        with api_for(timed).http.stream("GET", "/api/test-runs") as answer:
            assert _date(answer) == clock.now + 60


def test_an_answer_that_is_held_back_keeps_its_date(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """An answer that is slow on its way tells when it was made, not when it arrived."""
    http, made = api_for(timed).http, clock.now
    timed.fault("trigger", "delay", when="after", delay=0.5)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(http.put, "/api/test-runs", json={"environment": "staging"})
        # Once the server's one thread tells of the run, it has made the answer that it holds back.
        with httpx.Client(base_url=timed.url, trust_env=False) as plane:
            while not plane.get("/_emulator/").json()["runs"]:
                pass
        clock.now += 60
        assert _date(slow.result()) == made
    assert _date(http.get("/api/test-runs")) == made + 60
