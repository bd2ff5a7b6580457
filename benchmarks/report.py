"""The figures of a benchmark as data and as tables, and where they were measured.

Run as a script, it writes the tables of `results.json` anew.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

__all__ = ["PLOTS", "Report", "machine", "markdown", "shown", "write"]

HERE = Path(__file__).parent

PLOTS = {
    "benchmark-cpu.svg": "CPU time per wait and interval, over the number of waits",
    "benchmark-requests.svg": "Requests per interval, over the number of waits",
    "benchmark-delays.svg": "Delay from a run's end to the event, median and 99 %",
    "benchmark-imports.svg": "Time, modules and memory that an import costs",
}
"""What `plots.py` draws in docs/images/, and what is told where a picture cannot be seen."""

_PACKAGES = {
    "airflow": ("apache-airflow", "apache-airflow-providers-dbt-cloud", "httpx", "aiohttp"),
    "prefect": ("prefect", "prefect-dbt", "pydantic"),
}


class Report:
    """Sections of rows, each with our figure, the peer's, their ratio and the limit kept or missed.

    Figures are rounded once, here: what is published is text, of which the last digit counts.

    Args:
        machine: What the figures were measured on.
        repeats: How often.
    """

    def __init__(self, machine: str, repeats: int) -> None:
        self.missed = False
        self._sections: list[dict[str, Any]] = []
        self.results = {"machine": machine, "repeats": repeats, "sections": self._sections}

    def section(self, part: str, title: str, ours: str, theirs: str, **about: float) -> None:
        """Begin another table: of which part of the benchmark, and what else tells it apart."""
        head = {"part": part, **about, "title": title, "ours": ours, "theirs": theirs}
        self._sections.append({**head, "rows": []})

    def row(
        self,
        name: str,
        ours: float,
        theirs: float | None = None,
        unit: str = "",
        *,
        most: float | None = None,
        most_of_theirs: float | None = None,
    ) -> None:
        """Add a row; a limit that is not kept is told, and remembered in ``missed``."""
        ratio = ours / theirs if theirs else None
        limits = [
            {kind: limit, "kept": value <= limit}
            for kind, limit, value in (
                ("most", most, ours),
                ("most_of_theirs", most_of_theirs, ratio),
            )
            if limit is not None and value is not None
        ]
        self.missed |= not all(limit["kept"] for limit in limits)
        row = {
            "name": name,
            "unit": unit,
            "ours": _rounded(ours),
            "theirs": None if theirs is None else _rounded(theirs),
            "ratio": None if ratio is None else f"{ratio:.3f}",
            "limits": limits,
        }
        self._sections[-1]["rows"].append(row)


def _rounded(value: float) -> str:
    whole, three_digits, two_digits = value == int(value), 100, 10
    digits = 0 if whole or value >= three_digits else 1 if value >= two_digits else 2
    return f"{value:.{digits}f}"


def write(results: Mapping[str, Any], folder: Path = HERE) -> None:
    """Write the figures, and what is read of them."""
    data = json.dumps(results, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(f"{data}\n", "utf-8")
    (folder / "results.md").write_text(markdown(results), "utf-8")


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of all figures."""
    how = (
        f"Made by `make bench`; do not edit. Medians of at least {results['repeats']}, measured in "
        "turn; delays are of the events of all turns, connections and the longest round the worst."
    )
    where = (
        f"{results['machine']}. The service is a process of its own on the same machine: over "
        "loopback a request takes next to no time, so that what is left is what each side spends."
    )
    lines = ["# Benchmarks", "", how, "", where, "", "## Plots"]
    for name, about in PLOTS.items():
        lines += ["", f"![{about}](../docs/images/{name})"]
    for section in results["sections"]:
        head = f"| | `{section['ours']}` | `{section['theirs']}` | ratio | limit |"
        lines += ["", f"## {section['title']}", "", head, "| --- | ---: | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in section["rows"]]
    return "\n".join([*lines, ""])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    figures = (
        "" if row[who] is None else f"{shown(row[who])} {row['unit']}".strip()
        for who in ("ours", "theirs")
    )
    limits = []
    for limit in row["limits"]:
        most, what = (
            (limit["most"], row["unit"])
            if "most" in limit
            else (limit["most_of_theirs"], "of theirs")
        )
        word = "kept" if limit["kept"] else "**missed**"
        limits.append(f"{most:g} {what}".strip() + f": {word}")
    return row["name"], *figures, row["ratio"] or "", "; ".join(limits)


def shown(figure: str) -> str:
    """Return a figure as a person reads it."""
    return f"{Decimal(figure):,}"


def machine(pythons: Mapping[str, Path]) -> str:
    """Say what the figures were measured on, and with which versions."""
    found = []
    for host, names in _PACKAGES.items():
        code = (
            "import json, platform; from importlib.metadata import version;"
            f"print(json.dumps([platform.python_version(), *map(version, {names!r})]))"
        )
        answer = subprocess.check_output([pythons[host], "-c", code], text=True)
        python, *versions = json.loads(answer)
        found += [f"{name} {version}" for name, version in zip(names, versions, strict=True)]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; Python {python}, "
        f"{', '.join(found)}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    write(json.loads((HERE / "results.json").read_text("utf-8")))
