"""A run shows back what the switches say, in lists and details each by itself."""

from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator
from empirical_provider.emulator.echo import ECHOES

METADATA = {"trigger_key": "abc", "attempt": 2}
OVERRIDES = [{"name": "A", "value": "b"}]
GIVEN = {"metadata": METADATA, "environment_variables_overrides": OVERRIDES}


def _shown(http: httpx.Client, run_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a run from a list and from its detail."""
    listed = http.get("/api/test-runs", params={"id": run_id}).json()["data"]["test_runs"]
    detail = http.get(f"/api/test-runs/{run_id}").json()["data"]["test_run"]
    return listed["items"][0], detail["testRun"]


def test_by_itself_a_run_shows_overrides_and_no_metadata(api: Any, http: httpx.Client) -> None:
    """Without switches lists and details echo what there is evidence for."""
    item, detail = _shown(http, api.trigger(**GIVEN, test_case_ids=["x"]))
    assert set(ECHOES) - set(item) == {"metadata", "test_case_ids"}
    assert set(ECHOES) - set(detail) == {"metadata"}
    assert item["environment_variables_overrides"] == OVERRIDES
    assert detail["environment_variables_overrides"] == OVERRIDES


@pytest.mark.parametrize("in_list", [set(), {"metadata"}, {"environment_variables_overrides"}])
@pytest.mark.parametrize("in_detail", [set(), {"metadata"}, set(GIVEN)])
def test_lists_and_details_echo_what_each_is_told(
    api: Any,
    http: httpx.Client,
    empirical: Emulator,
    in_list: set[str],
    in_detail: set[str],
) -> None:
    """What is echoed is what was given, what is not echoed is absent, in each view by itself."""
    run_id = api.trigger(**GIVEN)
    empirical.behave(echo_in_list=in_list, echo_in_detail=in_detail)
    for shown, names in zip(_shown(http, run_id), (in_list, in_detail), strict=True):
        assert {n: shown[n] for n in ECHOES if n in shown} == {n: GIVEN[n] for n in names}
        assert shown["id"] == run_id


def test_an_echo_of_what_was_not_given_is_empty(
    api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """A run without metadata and the like shows empty values of the same kind."""
    empirical.behave(echo_in_list=list(ECHOES), echo_in_detail=list(ECHOES))
    for shown in _shown(http, api.trigger()):
        assert shown["metadata"] == {}
        assert shown["environment_variables_overrides"] == shown["test_case_ids"] == []
        assert shown["commit"] is shown["rerun_source_id"] is None


@pytest.mark.parametrize("name", ECHOES)
def test_every_echo_can_be_hidden_by_itself(
    api: Any, http: httpx.Client, empirical: Emulator, name: str
) -> None:
    """Each optional field can be missing from lists, and then only that one is."""
    empirical.behave(echo_in_list=set(ECHOES) - {name})
    item, _ = _shown(http, api.trigger())
    assert set(ECHOES) - set(item) == {name}


def test_a_run_can_be_shown_with_another_commit(
    api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """A script says with which commit the next runs are shown, whatever build was asked for."""
    empirical.script("staging", "passed", commit="abc1234", runs=1)
    scripted = api.trigger(environment="staging", build={"commit": "def5678"})
    other = api.trigger(environment="staging", build={"commit": "def5678"})
    assert [each["commit"] for each in _shown(http, scripted)] == ["abc1234"] * 2
    assert [each["commit"] for each in _shown(http, other)] == ["def5678"] * 2
