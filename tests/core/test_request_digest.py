"""One identity of a request: the same in any order, and another for anything that is tested."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import TestRunRequest
from empirical_provider.request_digest import RequestDigest, canonical

FULL: dict[str, Any] = {
    "environment": "staging",
    "build": {"url": "https://a.example", "commit": "abc", "version": "1"},
    "tags": ["@a", "@b", "@c"],
    "test_case_ids": ["1", "2"],
    "environment_variables_overrides": {"A": "1", "B": "2", "C": "3"},
    "total_shards": 2,
    "concurrency": {"group": "g", "on_conflict": "wait"},
}
OTHERS: list[dict[str, Any]] = [
    {"environment": "production"},
    {"build": {"url": "https://a.example", "commit": "abc", "version": "2"}},
    {"build": None},
    {"build": None, "branch": "b"},
    {"tags": ["@a", "@b"]},
    {"tags": None},
    {"test_case_ids": ["1", "3"]},
    {"environment_variables_overrides": {"A": "1", "B": "2", "C": "4"}},
    {"environment_variables_overrides": {"A": "2", "B": "1", "C": "3"}},
    {"environment_variables_overrides": {"A": "1", "B": "2", "D": "3"}},
    {"environment_variables_overrides": None},
    {"total_shards": 3},
    {"concurrency": {"group": "h", "on_conflict": "wait"}},
    {"concurrency": {"group": "g", "on_conflict": "cancel"}},
    {"concurrency": False},
]


def digest(**fields: Any) -> RequestDigest:
    request = TestRunRequest(**{**FULL, **fields})
    return RequestDigest.of(request, salt="salt", api_key="api-key")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_order_makes_another_request(data: st.DataObject) -> None:
    """Tags, tests and variables may come in any order, and twice, from lists, sets or mappings."""
    tags = data.draw(st.permutations([*FULL["tags"], "@a"]))
    tests = data.draw(st.permutations(FULL["test_case_ids"]))
    overrides = data.draw(st.permutations(list(FULL["environment_variables_overrides"].items())))
    build = data.draw(st.permutations(list(FULL["build"].items())))
    variables: Any = [{"name": name, "value": value} for name, value in overrides]
    same = digest(
        tags=data.draw(st.sampled_from([tags, set(tags), tuple(tags)])),
        test_case_ids=tests,
        environment_variables_overrides=data.draw(st.sampled_from([variables, dict(overrides)])),
        build=dict(build),
        metadata=data.draw(st.sampled_from([None, {"by": "me"}])),
        github_actor=data.draw(st.sampled_from([None, "me"])),
        send_notifications=data.draw(st.sampled_from([None, True])),
    )
    assert same == digest()


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_what_is_tested_makes_another_request(changes: dict[str, Any]) -> None:
    """Each field counts, and is named."""
    assert digest(**changes).differences(digest()) == [*changes]


def test_all_requests_differ_from_one_another() -> None:
    """No two of them count as the same."""
    made = [digest(**changes) for changes in [{}, *OTHERS]]
    for one, two in itertools.combinations(made, 2):
        assert one.differences(two)


def test_a_digest_of_a_version_with_other_fields_is_compared_all_the_same() -> None:
    """Where the fields cannot be named, that they differ is said."""
    other = RequestDigest.parse(str(digest(tags=["@x"])).replace("-", "-0000", 1))
    assert other is not None
    assert digest().differences(other) == ["a field that the key does not name"]


@pytest.mark.parametrize("text", ["", "0" * 30, f"{digest()}0", f"x{digest()}"])
def test_what_is_no_digest_is_not_read(text: str) -> None:
    """Text of another shape is none."""
    assert RequestDigest.parse(text) is None
    assert RequestDigest.parse(str(digest())) == digest()


def test_environments_are_lower_case() -> None:
    """As the API takes them."""
    assert canonical(TestRunRequest(environment="Staging"))["environment"] == "staging"
