"""The trigger key as text, what it tells of a run, and which of several runs is the one."""

from __future__ import annotations

import pytest

from empirical_provider import InvalidRequestError, TestRun, TestRunRequest, TestRunState
from empirical_provider.rivals import winner_of
from empirical_provider.trigger_key import VARIABLE, Match, TriggerKey

STAGING = TestRunRequest(environment="staging")
KEY = TriggerKey.of("release 7", STAGING, generation=3).at(2)


def run(run_id: int = 1, state: str = "queued", **fields: object) -> TestRun:
    return TestRun(id=run_id, state=TestRunState(state), **fields)  # type: ignore[arg-type]


def test_it_survives_as_text() -> None:
    """What is read back is the same key, also at its longest, and never above 64 characters."""
    longest = TriggerKey.of("k" * 5_000, STAGING, generation=999_999).at(999)
    for key in (KEY, longest):
        assert TriggerKey.parse(str(key)) == key
        assert len(str(key)) <= 64


@pytest.mark.parametrize("text", [None, "", "release 7", f"{KEY}x", f" {KEY}", str(KEY).upper()])
def test_what_is_none_of_ours_is_not_read(text: str | None) -> None:
    """Text of others where our key might stand is no key."""
    assert TriggerKey.parse(text) is None


def test_it_holds_nothing_to_guess_a_secret_by() -> None:
    """Of override values only two digits of a hash are in it: 256 for all values there are."""
    keys = {
        str(
            TriggerKey.of(
                "k",
                TestRunRequest(environment="e", environment_variables_overrides={"A": str(each)}),
            )
        )
        for each in range(2_000)
    }
    assert 200 < len(keys) <= 256


@pytest.mark.parametrize("generation", [-1, 1.5, True, "1"])
def test_a_generation_is_a_number(generation: object) -> None:
    """Anything but a whole number from 0 on is refused by name."""
    with pytest.raises(InvalidRequestError, match="generation"):
        TriggerKey.of("k", STAGING, generation=generation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shown", "environment", "in_list", "match"),
    [
        ({"trigger_key": str(KEY)}, False, True, Match.OURS),
        ({"trigger_key": str(KEY.at(3))}, False, True, Match.OURS),
        ({"trigger_key": str(KEY.at(1))}, False, True, Match.OTHER),
        (
            {"trigger_key": str(TriggerKey.of("release 7", STAGING))},  # another generation
            False,
            True,
            Match.OTHER,
        ),
        ({"trigger_key": str(TriggerKey.of("8", STAGING, generation=3))}, False, True, Match.OTHER),
        ({}, False, False, Match.UNTOLD),
        ({"metadata": {}}, False, True, Match.UNTOLD),  # nobody knows whether lists have any
        ({"metadata": {}}, False, False, Match.OTHER),
        ({"metadata": {"by": "me"}}, False, True, Match.OTHER),
        ({"override_names": ()}, False, True, Match.UNTOLD),  # it would not be there anyway
        ({"override_names": ()}, True, True, Match.OTHER),
        ({"override_names": (VARIABLE,)}, True, True, Match.UNTOLD),  # masked, say
        ({"trigger_key": str(KEY), "rerun_source_id": 5}, False, True, Match.OTHER),
    ],
)
def test_what_is_shown_of_a_run_tells_whose_it_is(
    shown: dict[str, object], environment: bool, in_list: bool, match: Match
) -> None:
    """Ours, another's, or not told: never a guess."""
    assert KEY.match(run(**shown), environment=environment, in_list=in_list) is match


@pytest.mark.parametrize(
    ("runs", "winner"),
    [
        ([(7, 0, "queued"), (5, 0, "started"), (6, 0, "ended")], 5),
        ([(5, 1, "started"), (9, 2, "queued"), (8, 0, "queued")], 5),
        ([(5, 0, "cancelled"), (6, 0, "queued")], 6),
        ([(5, 0, "queued"), (9, 1, "error")], 5),
        ([(5, 0, "error"), (7, 1, "cancelled"), (6, 0, "cancelled")], 7),
    ],
)
def test_one_of_several_is_the_one(runs: list[tuple[int, int, str]], winner: int) -> None:
    """The lowest id of those that may have a verdict; or else the last that had its turn."""
    several = [run(number, state, trigger_key=str(KEY.at(n))) for number, n, state in runs]
    one, _, rivals = winner_of(several)
    assert one.id == winner
    assert {each.id for each in rivals} == {number for number, _, _ in runs} - {winner}
