"""How much property tests try: all of it in CI and `make fuzz`, a tenth of it in between."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("THOROUGH", "") not in {"", "0"}
"""Whether everything is tried: ``make test-all`` and ``make fuzz`` set it."""


def examples(all_of_them: int) -> int:
    """Return how many examples a test tries of those that it has in CI."""
    return all_of_them if THOROUGH else max(10, all_of_them // 10)
