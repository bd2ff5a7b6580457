"""Runs of one concurrency group give way to each other as their triggers, or the project, say."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


def _in_group(on_conflict: str, group: str = "g") -> dict[str, Any]:
    return {"concurrency": {"group": group, "on_conflict": on_conflict}}


def _states(empirical: Emulator) -> list[str]:
    return [run.state for run in empirical.runs]


def test_cancel_replaces_the_live_runs_of_the_group(api: Any, empirical: Emulator) -> None:
    """A new run cancels the live ones of its group and no others."""
    old = api.trigger(**_in_group("cancel"))
    api.trigger(**_in_group("cancel", "other"))
    api.trigger()
    new = api.trigger("production", **_in_group("cancel"))
    assert _states(empirical) == ["cancelled", "queued", "queued", "queued"]
    assert empirical.runs[0].superseded_by == new
    assert api.detail(old)["testRun"]["superseded_by_test_run_id"] == new


def test_wait_holds_a_run_until_the_active_one_has_ended(api: Any, empirical: Emulator) -> None:
    """A waiting run is pending and starts when the run ahead of it is done."""
    active = api.trigger(**_in_group("wait"))
    waiting = api.trigger(**_in_group("wait"))
    assert _states(empirical) == ["queued", "pending"]
    api.finish(active)
    assert [api.state(waiting) for _ in range(3)] == ["queued", "started", "ended"]


def test_reads_of_a_waiting_run_move_the_run_ahead(api: Any) -> None:
    """Whoever watches only the waiting run still sees it end."""
    api.trigger(**_in_group("wait"))
    waiting = api.trigger(**_in_group("wait"))
    seen = [api.state(waiting) for _ in range(5)]
    assert seen == ["pending", "pending", "queued", "started", "ended"]


def test_a_list_moves_the_run_ahead_once(api: Any, empirical: Emulator) -> None:
    """A page with a waiting run and the run ahead of it is one read of that run, not two."""
    api.trigger(**_in_group("wait"))
    api.trigger(**_in_group("wait"))
    api.listed()
    assert _states(empirical) == ["started", "pending"]


def test_a_newer_waiting_run_replaces_an_older_one(api: Any, empirical: Emulator) -> None:
    """Only one run waits: the newest."""
    api.trigger(**_in_group("wait"))
    api.trigger(**_in_group("wait"))
    newest = api.trigger(**_in_group("wait"))
    assert _states(empirical) == ["queued", "cancelled", "pending"]
    assert empirical.runs[1].superseded_by == newest


def test_a_waiting_run_goes_when_the_active_one_is_deleted_or_cancelled(
    api: Any, empirical: Emulator
) -> None:
    """Whatever takes the active run away lets the waiting one go."""
    for take_away in (empirical.delete_run, lambda run: empirical.set_state(run, "cancelled")):
        active = api.trigger(**_in_group("wait", str(take_away)))
        waiting = api.trigger(**_in_group("wait", str(take_away)))
        take_away(active)
        assert api.state(waiting) == "queued"


def test_a_waiting_run_can_be_cancelled(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """A cancel of the waiting run leaves the active one alone."""
    active = api.trigger(**_in_group("wait"))
    waiting = api.trigger(**_in_group("wait"))
    http.post(f"/api/test-runs/{waiting}/cancel")
    assert _states(empirical) == ["queued", "cancelling"]
    assert api.finish(waiting)["testRun"]["state"] == "cancelled"
    assert api.finish(active)["testRun"]["state"] == "ended"


def test_a_rejected_trigger_disturbs_nobody(api: Any, empirical: Emulator) -> None:
    """A run that never was does not cancel the others of its group."""
    api.trigger(**_in_group("cancel"))
    empirical.script("staging", "rejected")
    api.trigger(**_in_group("cancel"))
    assert _states(empirical) == ["queued", "error"]


def test_time_lets_a_waiting_run_start_when_the_active_one_ended(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """With time as the mover, the waiting run starts its own time at that moment."""
    api = api_for(timed)
    api.trigger(**_in_group("wait"))
    waiting = api.trigger(**_in_group("wait"))
    clock.now += 3.9
    assert api.state(waiting) == "pending"
    clock.now += 2.1
    assert api.state(waiting) == "started"
    clock.now += 2
    assert api.state(waiting) == "ended"


def test_the_project_limits_nothing_by_itself(api: Any, empirical: Emulator) -> None:
    """Without a limit runs of one branch and environment go side by side."""
    api.trigger()
    api.trigger()
    assert _states(empirical) == ["queued", "queued"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("project", ["queued", "cancelled", "cancelled", "pending"]),
        ("environment", ["queued", "cancelled", "pending", "queued"]),
        ("branch_environment", ["queued", "pending", "queued", "queued"]),
    ],
)
def test_the_limit_of_the_project_holds_in_its_scope(
    api: Any, empirical: Emulator, limit: str, expected: list[str]
) -> None:
    """With a queue one run goes in a project, an environment, or an environment of a branch."""
    empirical.behave(concurrency_limit=limit, concurrency_behavior="queue_new")
    api.trigger("staging")
    api.trigger("staging")
    api.trigger("staging", branch="feature")
    api.trigger("production")
    assert _states(empirical) == expected


def test_the_project_can_cancel_what_goes_before(api: Any, empirical: Emulator) -> None:
    """With cancel_previous a new run replaces the one that runs in its scope."""
    empirical.behave(concurrency_limit="environment", concurrency_behavior="cancel_previous")
    old = api.trigger()
    empirical.set_state(old, "started")
    api.trigger("production")
    new = api.trigger()
    assert _states(empirical) == ["cancelled", "queued", "queued"]
    assert api.detail(old)["testRun"]["superseded_by_test_run_id"] == new


def test_a_newer_run_replaces_the_one_that_waits_for_the_project(
    api: Any, empirical: Emulator
) -> None:
    """A waiting run is cancelled with nobody pressing cancel, and the newest goes next."""
    empirical.behave(concurrency_limit="project", concurrency_behavior="queue_new")
    active, waiting, newest = (api.trigger() for _ in range(3))
    assert _states(empirical) == ["queued", "cancelled", "pending"]
    assert empirical.runs[waiting - 1].superseded_by == newest
    api.finish(active)
    assert api.finish(newest)["testRun"]["state"] == "ended"


@pytest.mark.parametrize("own", [None, {"group": "project", "on_conflict": "cancel"}])
def test_the_concurrency_of_a_run_goes_before_that_of_the_project(
    api: Any, empirical: Emulator, own: dict[str, str] | None
) -> None:
    """A run with a group of its own, or with none at all, is not in the project's queue."""
    empirical.behave(concurrency_limit="project", concurrency_behavior="queue_new")
    api.trigger()
    api.trigger(concurrency=own)
    api.trigger()
    assert _states(empirical) == ["queued", "queued", "pending"]


def test_a_limit_that_is_lifted_keeps_its_promises(api: Any, empirical: Emulator) -> None:
    """A run that waits goes on waiting for the one ahead, and starts after it."""
    empirical.behave(concurrency_limit="project", concurrency_behavior="queue_new")
    active, waiting = api.trigger(), api.trigger()
    empirical.behave(concurrency_limit="none")
    api.trigger()
    assert _states(empirical) == ["queued", "pending", "queued"]
    api.finish(active)
    assert api.state(waiting) == "queued"


def test_a_rerun_enters_the_queue_of_the_project(
    api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """Both forms of a re-run are held back like any new run."""
    source = api.trigger()
    api.finish(source)
    empirical.behave(concurrency_limit="project", concurrency_behavior="queue_new")
    api.trigger()
    http.post(f"/api/test-runs/{source}/re-run")
    api.trigger(rerun_source_id=source)
    assert _states(empirical)[1:] == ["queued", "cancelled", "pending"]
