"""The switches can be set in Python and over HTTP alike."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Behaviour, Emulator


@pytest.fixture
def plane(empirical: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{empirical.url}/_emulator", trust_env=False) as client:
        yield client


def test_switches_over_http_act_like_the_method(plane: httpx.Client, empirical: Emulator) -> None:
    """Each way changes only what it names, and both see the same switches."""
    body = {"echo_in_list": ["metadata"], "list_lag_reads": 3, "clock_skew": -5}
    set_by_http = plane.post("/behaviour", json=body).json()["behaviour"]
    assert set_by_http.items() >= body.items()
    assert empirical.behave(list_lag=1) == empirical.behaviour
    assert empirical.behaviour == Behaviour(
        echo_in_list=frozenset({"metadata"}), list_lag=1, list_lag_reads=3, clock_skew=-5
    )
    assert plane.get("/").json()["behaviour"] == set_by_http | {"list_lag": 1}


@pytest.mark.parametrize("by_http", [False, True])
def test_reset_returns_to_the_first_switches(
    api_for: Callable[[Emulator], Any], by_http: bool
) -> None:
    """After a reset the switches are those of the constructor, and no lag is left over."""
    with Emulator(list_lag_reads=1, echo_in_detail=["metadata"]) as emulator:
        first, api = emulator.behaviour, api_for(emulator)
        assert (first.list_lag_reads, first.echo_in_detail) == (1, {"metadata"})
        api.trigger()
        assert [api.listed() for _ in range(2)] == [[], [1]]
        emulator.behave(list_lag_reads=0, echo_in_detail=[], clock_skew=9)
        if by_http:
            api.http.post("/_emulator/reset")
        else:
            emulator.reset()
        assert emulator.behaviour == first
        api.trigger()
        assert [api.listed() for _ in range(2)] == [[], [1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"echo_in_list": ["metadat"]}, r"^echo_in_list: .*metadata.*'metadat'"),
        ({"echo_in_detail": "metadata"}, "^echo_in_detail: must be a list"),
        ({"echo_in_detail": [1]}, "^echo_in_detail: must be a string"),
        ({"list_lag": -1}, "^list_lag: must be from 0"),
        ({"list_lag": "1"}, "^list_lag: must be a number"),
        ({"list_lag_reads": 1.5}, "^list_lag_reads: must be an integer"),
        ({"clock_skew": 86_401}, "^clock_skew: must be from -86400 to 86400"),
        ({"concurrency_limit": "branch"}, "^concurrency_limit: must be one of none, project"),
        ({"concurrency_behavior": "wait"}, "^concurrency_behavior: must be one of cancel_previous"),
        ({"disabled_environments": "staging"}, "^disabled_environments: must be a list of slugs"),
        ({"disabled_environments": ["qa"]}, "^disabled_environments: there is no environment 'qa'"),
        ({"list_lags": 1}, "^list_lags: unknown field"),
    ],
)
def test_wrong_switches_are_refused_by_name(
    plane: httpx.Client, empirical: Emulator, changes: dict[str, Any], message: str
) -> None:
    """Every way refuses what is unknown, names it, and changes nothing."""
    before = empirical.behaviour
    with pytest.raises(ValueError, match=message):
        Emulator(**changes)
    with pytest.raises(ValueError, match=message):
        empirical.behave(**{"clock_skew": 7, **changes})
    answer = plane.post("/behaviour", json={"clock_skew": 7, **changes})
    assert answer.status_code == 422
    assert re.search(message, answer.json()["error"]["message"])
    assert empirical.behaviour == before
