"""The tests of the made-up project: the n-th test is always the same test, in every run."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["CASES", "TestRow", "row", "tags_of"]

_AREAS = ("checkout", "login", "search", "cart", "account", "orders", "catalog", "settings")
_TITLES = (
    "shows the page to a signed-in user",
    "shows an error for invalid input",
    "keeps its state after a reload",
    "works with the keyboard alone",
    "lists items in the chosen order",
    "asks before it deletes",
)

CASES = len(_AREAS) * len(_TITLES)
"""How many tests the project lists; a run that is scripted to have more makes up variants."""


@dataclass(frozen=True)
class TestRow:
    """One test as a run reports it.

    Attributes:
        pw_test_id: Stable id: 20 hex digits, a hyphen, 20 hex digits.
        file: Spec file.
        title: Title of the test.
        status: passed, failed, flaky, skipped or interrupted.
        snoozed: The failure is snoozed; the status stays failed.
    """

    __test__ = False  # the name is the domain's: pytest must not collect it

    pw_test_id: str
    file: str
    title: str
    status: str
    snoozed: bool = False

    @property
    def slug(self) -> str:
        """The title as it looks in an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@lru_cache(maxsize=10_000)
def _identity(index: int) -> tuple[str, str, str]:
    turn, area = divmod(index, len(_AREAS))
    cycle, title = divmod(turn, len(_TITLES))
    suffix = f" (variant {cycle + 1})" if cycle else ""
    file = f"tests/{_AREAS[area]}.spec.ts"
    name = f"{_TITLES[title]}{suffix}"
    digest = hashlib.sha256(f"{file}\n{name}".encode()).hexdigest()
    return f"{digest[:20]}-{digest[20:40]}", file, name


def tags_of(index: int) -> list[str]:
    """Return the tags of the n-th test: its area, and @smoke for the first ones of all areas."""
    turn, area = divmod(index, len(_AREAS))
    return [f"@{_AREAS[area]}", *(["@smoke"] if turn == 0 else [])]


def row(index: int, status: str, *, snoozed: bool = False) -> TestRow:
    """Return the n-th test of the project with its status in some run."""
    pw_test_id, file, title = _identity(index)
    return TestRow(pw_test_id, file, title, status, snoozed)
