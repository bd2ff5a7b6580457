"""The branch: which way each verdict goes; whole DAG runs of it are in `test_examples`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.airflow.operators import EmpiricalBranchOperator
from empirical_provider.airflow.versions import find
from tests.airflow.standins import AirflowFailException, AirflowSkipException, TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from empirical_provider.emulator import Emulator

AirflowException = find(
    "airflow.sdk.exceptions:AirflowException", "airflow.exceptions:AirflowException"
)

pytestmark = pytest.mark.usefixtures("connection")


class Branching(TaskInstance):
    """Stands in for Airflow's; knows what the tasks before have pushed."""

    def __init__(
        self,
        before: Mapping[str, int | None] | None = None,
        verdict: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._known = {"test_run_id": before or {}, "verdict": dict.fromkeys(before or {}, verdict)}

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int = -1) -> Any:
        assert map_indexes == -1
        return self._known[key][task_ids]


@pytest.fixture
def start(empirical: Emulator, api_key: str) -> Callable[..., int]:
    """Return a function that starts a run in staging, finishes it if asked, and returns its id."""

    def begin(outcome: str, state: str | None = "ended") -> int:
        empirical.script("staging", outcome)
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run_id = client.trigger(TestRunRequest(environment="staging")).id
        if state is not None:
            empirical.set_state(run_id, state)
        return run_id

    return begin


def choose(ti: TaskInstance, before: tuple[str, ...] = (), **fields: Any) -> list[str]:
    given = {"follow_if_passed": "promote", "follow_if_failed": ["roll_back", "tell"]}
    task = EmpiricalBranchOperator(task_id="e2e", **{**given, **fields})
    task.upstream_task_ids |= set(before)
    return task.choose_branch({"ti": ti})


@pytest.mark.parametrize(
    ("outcome", "state", "policy", "chosen"),
    [
        ("passed", "ended", None, ["promote"]),
        ("failed", "ended", None, ["roll_back", "tell"]),
        ("failed", "ended", {"failed": "pass"}, ["promote"]),
        ("no_tests", "ended", None, ["roll_back", "tell"]),
        ("passed", "cancelled", None, ["roll_back", "tell"]),
        ("passed", "error", {"error": "pass"}, ["promote"]),
    ],
)
def test_the_verdict_says_which_way(
    outcome: str, state: str, policy: Any, chosen: list[str], start: Callable[..., int]
) -> None:
    """The run is judged anew under the branch's own policy, and the verdict is handed on."""
    run_id = start(outcome, state)
    ti = Branching()
    assert choose(ti, test_run_id=str(run_id), policy=policy) == chosen
    assert ti.xcoms["verdict"]["run_id"] == run_id
    assert ti.xcoms["test_run_url"].endswith(f"/test-runs/{run_id}")


def test_a_way_that_is_not_given_leads_nowhere(start: Callable[..., int]) -> None:
    """Without a task for a verdict, all that follows is skipped."""
    assert choose(Branching(), test_run_id=start("passed"), follow_if_passed=None) == []


def test_the_policy_may_skip_the_branch(start: Callable[..., int]) -> None:
    """An outcome that the policy skips takes neither way."""
    with pytest.raises(AirflowSkipException, match="failed"):
        choose(Branching(), test_run_id=start("failed"), policy={"failed": "skip"})


def test_a_run_that_has_not_finished_is_an_error(start: Callable[..., int]) -> None:
    """There is nothing to go by yet; the error names the run and its page, and may be retried."""
    run_id = start("stuck", None)
    with pytest.raises(AirflowException, match=f"test run {run_id} .*is queued") as error:
        choose(Branching(), test_run_id=run_id)
    assert not isinstance(error.value, AirflowFailException)
    assert f"/acme/test-runs/{run_id}" in str(error.value)


def test_the_run_is_that_of_the_task_before(start: Callable[..., int]) -> None:
    """Without an id the branch goes by the one run that a task directly before it has started."""
    ti = Branching({"gate": start("passed"), "notes": None})
    assert choose(ti, ("gate", "notes")) == ["promote"]


@pytest.mark.parametrize(
    ("before", "told"),
    [({}, "0 of the tasks .*none"), ({"a": None}, "0 of .*a"), ({"a": 1, "b": 2}, "2 of .*a, b")],
)
def test_without_exactly_one_run_before_there_is_no_guess(
    before: dict[str, int | None], told: str
) -> None:
    """No run, or more than one, is an error that says what was found."""
    with pytest.raises(AirflowFailException, match=told):
        choose(Branching(before), tuple(before))


@pytest.mark.parametrize("given", ["", "None", -1])
def test_an_id_that_is_none_is_refused(given: Any) -> None:
    """A template that came out empty is refused by name."""
    with pytest.raises(AirflowFailException, match="test_run_id must be the id of a test run"):
        choose(Branching(), test_run_id=given)


TESTED = "5e1f3a7b" + "0" * 32


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({}, ["roll_back", "tell"]),
        ({"expect_commit": True}, ["roll_back", "tell"]),
        ({"expect_commit": False}, ["promote"]),
        ({"expect_commit": TESTED[:8]}, ["promote"]),
        ({"policy": {"wrong_commit": "pass"}}, ["promote"]),
    ],
)
def test_a_gate_that_a_commit_has_closed_is_not_opened_by_the_branch(
    fields: dict[str, Any], chosen: list[str], empirical: Emulator, api_key: str
) -> None:
    """What a gate before has expected of the run, the branch expects, unless it says otherwise."""
    empirical.script("staging", "passed", commit=TESTED)
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    empirical.set_state(run_id, "ended")
    ti = Branching({"gate": run_id}, {"run_id": run_id, "expected_commit": "0" * 40})
    assert choose(ti, ("gate",), **fields) == chosen


def test_a_gate_of_another_run_says_nothing_about_the_commit(start: Callable[..., int]) -> None:
    """A verdict on another run, or none, leaves the branch without a commit to expect."""
    run_id = start("passed")
    for verdict in (None, {"run_id": run_id + 1, "expected_commit": "0" * 40}):
        ti = Branching({"gate": run_id}, verdict)
        assert choose(ti, ("gate",)) == ["promote"]
