"""The table of versions and scenarios: what the deployment tests have found, as last run.

Reads ``.results/``, which the tests write (`tests/deployment/conftest.py`). Exits with 1 where a
scenario has failed, or where there is nothing to show.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

RESULTS = Path(__file__).parents[1] / ".results"
SIGNS = {"passed": "ok", "failed": "FAILED"}
ELSEWHERE = "."

Cells = dict[str, dict[str, tuple[str, str]]]
"""What became of a scenario, by version: an outcome and its reason."""


def main() -> int:
    """Print a table for each host; return the exit code."""
    hosts: defaultdict[str, Cells] = defaultdict(dict)
    for file in sorted(RESULTS.glob("*.json")):
        told = json.loads(file.read_text())
        for name, (outcome, reason) in told["scenarios"].items():
            hosts[told["host"]].setdefault(name, {})[told["version"]] = (outcome, reason)
    for host, cells in hosts.items():
        show(host, cells)
    if not hosts:
        print("No deployment has been tested: make test, make test-matrix.")
    outcomes = [
        outcome for cells in hosts.values() for row in cells.values() for outcome, _ in row.values()
    ]
    return int("failed" in outcomes or not outcomes)


def show(host: str, cells: Cells) -> None:
    """Print one table, and the reasons for what it leaves out."""
    versions = sorted({version for row in cells.values() for version in row}, key=_as_numbers)
    reasons: dict[str, int] = {}
    width = max(map(len, cells))
    print(f"\n{host:<{width}}  {'  '.join(versions)}")
    for name, row in cells.items():
        signs = []
        for version in versions:
            outcome, reason = row.get(version, ("elsewhere", ""))
            sign = SIGNS.get(outcome, ELSEWHERE)
            if outcome == "skipped":
                sign = f"({reasons.setdefault(reason, len(reasons) + 1)})"
            signs.append(f"{sign:<{len(version)}}")
        print(f"{name:<{width}}  {'  '.join(signs).rstrip()}")
    print(f"\n{ELSEWHERE}: a scenario of the newest version only, or of `make test-browser`")
    for reason, number in reasons.items():
        print(f"({number}): {reason.removeprefix('Skipped: ')}")


def _as_numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


if __name__ == "__main__":
    sys.exit(main())
