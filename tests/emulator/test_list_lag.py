"""New runs are missing from lists for a while, and lists stay consistent."""

from collections.abc import Callable
from typing import Any

import httpx

from empirical_provider.emulator import Emulator


def test_a_new_run_is_missing_from_so_many_lists(api: Any, empirical: Emulator) -> None:
    """With a lag in reads a run appears in the list after them; its detail answers at once."""
    empirical.behave(list_lag_reads=2)
    run_id = api.trigger()
    assert api.state(run_id) == "queued"
    assert [api.listed() for _ in range(3)] == [[], [], [run_id]]
    assert api.listed(id=run_id) == [run_id]


def test_a_lagging_run_is_not_counted(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """The total of a list is that of the runs that it knows."""
    api.trigger()
    empirical.behave(list_lag_reads=1)
    api.trigger()
    totals = [http.get("/api/test-runs").json()["pagination"]["total"] for _ in range(2)]
    assert totals == [1, 2]


def test_a_new_run_is_missing_from_lists_for_so_long(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """With a lag in seconds a run appears in the list when they are over."""
    timed.behave(list_lag=5)
    api = api_for(timed)
    run_id = api.trigger()
    clock.now += 4.9
    assert api.listed() == []
    assert api.detail(run_id)["testRun"]["state"] == "ended"
    clock.now += 0.1
    assert api.listed() == [run_id]


def test_no_run_is_listed_before_an_older_one(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """Even when the clock is set back between two runs, the older one comes first."""
    timed.behave(list_lag=5)
    api = api_for(timed)
    clock.now += 100
    older = api.trigger()
    clock.now -= 100
    newer = api.trigger()
    clock.now += 50
    assert api.listed() == []
    clock.now += 55
    assert api.listed() == [newer, older]


def test_what_has_been_listed_stays_listed(api: Any, empirical: Emulator) -> None:
    """A lag that begins hides new runs only, and one that ends shows all at once."""
    old = api.trigger()
    empirical.behave(list_lag=3600, list_lag_reads=1000)
    new = api.trigger()
    assert api.listed() == [old]
    empirical.behave(list_lag=0)
    assert api.listed() == [old]
    empirical.behave(list_lag_reads=0)
    assert api.listed() == [new, old]
