"""What is stored is read by the version before and the version after."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import Counts, EmpiricalError, GatePolicy, TestRun, TestRunState, Verdict
from empirical_provider.end_events import EndFilter
from empirical_provider.ended_runs import Cursor
from empirical_provider.verdict import judge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)

RUN = TestRun(
    id=456,
    state=TestRunState.ENDED,
    url="https://dash.empirical.run/acme/test-runs/456",
    environment="staging",
    commit="4f0c2d1",
    total_count=48,
    success_count=48,
    failed_count=0,
    failed_count_after_snoozing=0,
    skipped_count=0,
    flaky_count=0,
    duration=120000,
)
VERDICT = judge(RUN, GatePolicy(), elapsed_seconds=61.3).as_dict()


@dataclass(frozen=True)
class Form:
    """A stored form: an example of it, how it is read back to plain data, and what it needs."""

    stored: dict[str, Any]
    read: Callable[[Any], dict[str, Any]]
    required: frozenset[str] = frozenset()


FORMS = {
    "verdict": Form(
        VERDICT,
        lambda data: Verdict.from_dict(data).as_dict(),
        frozenset({"run_id", "outcome", "decision"}),
    ),
    "counts": Form(
        VERDICT["counts"],
        lambda data: Verdict.from_dict({**VERDICT, "counts": data}).as_dict()["counts"],
    ),
    "cursor": Form(
        {"floor": 7, "told": [9], "open": [8, 12]},
        lambda data: Cursor.of(data).as_dict(),
        frozenset({"floor"}),
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_unknown_keys_are_ignored_and_missing_ones_have_defaults(
    form: Form, data: st.DataObject
) -> None:
    """Every key that is there is read, whatever else is there and whichever optional one is not."""
    optional = sorted(form.stored.keys() - form.required)
    dropped = data.draw(st.sets(st.sampled_from(optional)))
    unknown = st.text().filter(lambda name: name not in form.stored)
    added = data.draw(st.dictionaries(unknown, JSON, max_size=3))
    nulls = dict.fromkeys(data.draw(st.sets(st.sampled_from(sorted(dropped)))) if dropped else ())
    kept = {name: value for name, value in form.stored.items() if name not in dropped}
    found = form.read(json.loads(json.dumps({**added, **nulls, **kept})))
    assert found.keys() >= form.stored.keys()
    assert {name: found[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("form", "name"),
    [(form, name) for form in FORMS.values() for name in sorted(form.required)],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_a_form_cannot_do_without_is_an_error(form: Form, name: str) -> None:
    """A verdict without a decision and a cursor without a place are none: nothing is made up."""
    stored = {key: value for key, value in form.stored.items() if key != name}
    with pytest.raises((KeyError, TypeError, ValueError, EmpiricalError)):
        form.read(stored)
    with pytest.raises((KeyError, TypeError, ValueError, EmpiricalError)):
        form.read({**stored, name: None})


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        [],
        "passed",
        {**VERDICT, "outcome": "a word of a newer version"},
        {**VERDICT, "decision": "maybe"},
        {**VERDICT, "run_id": "456"},
        {**VERDICT, "counts": 5},
        {**VERDICT, "failed_tests": 5},
    ],
)
def test_what_is_not_a_verdict_is_not_taken_for_one(verdict: Any) -> None:
    """Tolerance ends where something else was stored: it is an error, and never an open gate."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Verdict.from_dict(verdict)


def test_a_verdict_with_the_least_still_makes_a_message() -> None:
    """An error that is made of it names the run and the outcome."""
    stored = {"run_id": 456, "outcome": "failed", "decision": "fail", "failed_tests": ["a", "b"]}
    verdict = Verdict.from_dict(stored)
    assert str(verdict.error()).startswith("Empirical test run 456: failed.")
    assert verdict.failed_tests_total == 2
    assert verdict.counts == Counts()


def test_what_stored_names_are_made_of_outlasts_a_new_outcome() -> None:
    """A filter is told from others by what it says; a field that is added later changes nothing."""
    policy = {"max_flaky": 2, "no_tests": "skip", "failed": "fail"}
    assert EndFilter(environment="staging", policy=policy).identity() == {
        "environment": ["staging"],
        "policy": {"no_tests": "skip", "max_flaky": 2},
    }
    assert EndFilter().identity() == {"policy": {}}
