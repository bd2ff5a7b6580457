"""The trigger key as text, what it tells of a run, and which of several runs is the one."""

from __future__ import annotations

import pytest

from empirical_provider import InvalidRequestError, TestRun, TestRunRequest, TestRunState
from empirical_provider.rivals import winner_of
from empirical_provider.trigger_key import VARIABLE, Match, TriggerKey

STAGING = TestRunRequest(environment="staging")


def key_of(key: object, request: TestRunRequest = STAGING, **more: object) -> TriggerKey:
    return TriggerKey.of(key, request, **{"api_key": "api-key", **more})  # type: ignore[arg-type]


OVERRIDES = "environment_variables_overrides"
KEY = key_of("release 7", generation=3).at(2)


def run(run_id: int = 1, state: str = "queued", **fields: object) -> TestRun:
    return TestRun(id=run_id, state=TestRunState(state), **fields)  # type: ignore[arg-type]


def test_it_survives_as_text() -> None:
    """What is read back is the same key, also at its longest, and never above 255 characters."""
    longest = key_of("k" * 5_000, generation=999_999).at(999)
    for key in (KEY, longest):
        assert TriggerKey.parse(str(key)) == key
        assert len(str(key)) <= 213


@pytest.mark.parametrize("text", [None, "", "release 7", f"{KEY}x", f" {KEY}", str(KEY).upper()])
def test_what_is_none_of_ours_is_not_read(text: str | None) -> None:
    """Text of others where our key might stand is no key."""
    assert TriggerKey.parse(text) is None


def with_values(**overrides: str) -> TestRunRequest:
    return TestRunRequest(environment="staging", environment_variables_overrides=overrides)


def test_no_value_can_be_tried_out_without_the_api_key() -> None:
    """Of all that a key says nothing is the same for one value and another API key.

    So whoever knows all of the request but a value, and guesses that, has nothing to compare.
    """
    right, wrong = (str(key_of("k", with_values(PIN=pin))).split("-") for pin in ("1", "2"))
    guesses = [
        str(key_of("k", with_values(PIN=pin), api_key=api_key)).split("-")
        for pin in ("1", "2")
        for api_key in ("", "guessed", "EMPIRICALRUN_KEY")
    ]
    shared = {part for guess in guesses for part in guess}
    assert {part for part in right if part not in wrong} & shared == set()
    assert [part for part in right if part in shared] == [part for part in wrong if part in shared]


def test_a_release_after_another_tells_no_more() -> None:
    """The same value under two keys looks like two values."""
    one, two = (str(key_of(name, with_values(PIN="1"))).split("-") for name in ("r1", "r2"))
    assert set(one[3:]) & set(two[3:]) == set()


def test_another_value_is_always_another_request() -> None:
    """Of a few thousand values no two count as the same."""
    keys = {key_of("k", with_values(A=str(each))).request.values for each in range(3_000)}
    assert len(keys) == 3_000


def test_another_api_key_says_nothing_about_values() -> None:
    """Values cannot be compared after a rotation; all else can, the names of variables too."""
    old = key_of("k", with_values(A="1"))
    rotated = [
        (with_values(A="1"), []),
        (with_values(A="2"), []),
        (with_values(B="1"), ["environment_variables_overrides"]),
        (TestRunRequest(environment="production"), ["environment", OVERRIDES]),
    ]
    for request, names in rotated:
        assert old.differences(key_of("k", request, api_key="next")) == names
    assert old.is_for_the_same(key_of("k", api_key="next"))
    assert old.differences(key_of("k", with_values(A="2"))) == [OVERRIDES]


@pytest.mark.parametrize("generation", [-1, 1.5, True, "1"])
def test_a_generation_is_a_number(generation: object) -> None:
    """Anything but a whole number from 0 on is refused by name."""
    with pytest.raises(InvalidRequestError, match="generation"):
        key_of("k", generation=generation)


@pytest.mark.parametrize(
    ("shown", "environment", "in_list", "match"),
    [
        ({"trigger_key": str(KEY)}, False, True, Match.OURS),
        ({"trigger_key": str(KEY.at(3))}, False, True, Match.OURS),
        ({"trigger_key": str(KEY.at(1))}, False, True, Match.OTHER),
        (
            {"trigger_key": str(key_of("release 7"))},  # another generation
            False,
            True,
            Match.OTHER,
        ),
        ({"trigger_key": str(key_of("8", generation=3))}, False, True, Match.OTHER),
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


def asked(**fields: object) -> TestRunRequest:
    return TestRunRequest(environment="staging", build={"commit": "c0ffee1"}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ({}, Match.OURS),
        ({"environment": "Staging"}, Match.OURS),
        ({"environment": "production"}, Match.OTHER),
        ({"commit": "c0ffee1"}, Match.OURS),
        ({"commit": "C0FFEE1234"}, Match.OURS),
        ({"commit": "c0"}, Match.OURS),
        ({"commit": "beef"}, Match.UNTOLD),
    ],
)
def test_a_copy_of_our_key_is_told_by_what_else_is_shown(
    shown: dict[str, object], told: Match
) -> None:
    """Elsewhere it is another's; of another commit nobody can tell; it is never taken for ours."""
    key = key_of("k", asked())
    shows = run(trigger_key=str(key), **shown)
    assert key.checked(Match.OURS, shows, asked()) is told


def test_a_key_for_another_request_is_no_copy() -> None:
    """A key that says itself what differs is told by that, wherever its run is."""
    other = key_of("k", TestRunRequest(environment="production"))
    shows = run(trigger_key=str(other), environment="production")
    assert key_of("k").checked(Match.OURS, shows, STAGING) is Match.OURS
