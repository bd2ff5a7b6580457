"""What no run can have counted: then nothing that an answer says of it is believed.

Only what is impossible under every reading is. Whether a total counts what was skipped, and the
passed what was flaky, the service does not say: so parts are not added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from empirical_provider import answers
from empirical_provider.models import TestResult

__all__ = ["COUNTS", "incredible"]

COUNTS = (
    "total_count",
    "success_count",
    "failed_count",
    "failed_count_after_snoozing",
    "skipped_count",
    "flaky_count",
)
"""The numbers of tests that an answer may tell, by its own names."""

_FAILURES = ("failed_count", "failed_count_after_snoozing")

_NOT_ABOVE = (
    ("success_count", "total_count"),
    ("failed_count", "total_count"),
    ("flaky_count", "total_count"),
    ("failed_count_after_snoozing", "failed_count"),
)


def incredible(counts: Mapping[str, Any], tests: Sequence[TestResult]) -> str | None:
    """Say what cannot be true of a run that has ended, after the words "it ended, but".

    A run that is red by all it tells is believed: there is nothing to be gained by such a lie, and
    a run that was cut short is red and may have lost count.

    Args:
        counts: What the answer, or a run, has under the names in `COUNTS`; None is not told.
        tests: Its tests one by one, as far as it lists any.

    Returns:
        What is wrong, without quoting what is no number; None where nothing is.
    """
    told = {name: counts[name] for name in COUNTS if counts.get(name) is not None}
    sound = {name: each for name, each in told.items() if answers.is_integer(each) and each >= 0}
    failures = [sound.get(name, 0) for name in _FAILURES if name in told]
    if failures and min(failures) > 0:
        return None
    for name in told:
        if name not in sound:
            return f"its {name} is no number of tests"
    for part, whole in _NOT_ABOVE:
        if part in sound and whole in sound and sound[part] > sound[whole]:
            return f"its {part} ({sound[part]}) is above its {whole} ({sound[whole]})"
    listed = sum(test.kind == "failed" and not test.snoozed for test in tests)
    for name in _FAILURES:
        if listed and sound.get(name) == 0:
            return f"its {name} is 0, and it lists {listed} that failed and are not snoozed"
    return None
