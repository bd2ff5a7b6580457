"""The table of a benchmark, and where it was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Report", "machine"]

_PACKAGES = {
    "airflow": ("apache-airflow", "apache-airflow-providers-dbt-cloud", "httpx", "aiohttp"),
    "prefect": ("prefect", "prefect-dbt", "pydantic"),
}


class Report:
    """Sections of rows, each with our figure, the peer's, their ratio and the limit kept or missed.

    Args:
        where: What the figures were measured on.
        repeats: How often.
    """

    def __init__(self, where: str, repeats: int) -> None:
        self.missed = False
        how = (
            f"Made by `make bench`; do not edit. Medians of at least {repeats}, measured in turn; "
            "delays are of the events of all turns, connections and the longest round the worst."
        )
        self._lines = ["# Benchmarks", "", how, "", where]

    def section(self, title: str, ours: str, theirs: str) -> None:
        """Begin another table."""
        head = f"| | `{ours}` | `{theirs}` | ratio | limit |"
        self._lines += ["", f"## {title}", "", head, "| --- | ---: | ---: | ---: | --- |"]

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
        limits = []
        for limit, value, what in (
            (most, ours, f"{unit}"),
            (most_of_theirs, ratio, "of theirs"),
        ):
            if limit is not None and value is not None:
                self.missed |= value > limit
                word = "kept" if value <= limit else "**missed**"
                limits.append(f"{limit:g} {what}".strip() + f": {word}")
        cells = (
            name,
            _written(ours, unit),
            "" if theirs is None else _written(theirs, unit),
            "" if ratio is None else f"{ratio:.3f}",
            "; ".join(limits),
        )
        self._lines.append(f"| {' | '.join(cells)} |")

    def text(self) -> str:
        """Return all of it as Markdown."""
        return "\n".join([*self._lines, ""])


def _written(value: float, unit: str) -> str:
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f} {unit}".strip()


def machine(pythons: Mapping[str, Path]) -> str:
    """Say what the figures were measured on, and with which versions."""
    found = []
    for host, names in _PACKAGES.items():
        code = (
            "import json, platform; from importlib.metadata import version;"
            f"print(json.dumps([platform.python_version(), *map(version, {names!r})]))"
        )
        answer = subprocess.check_output([pythons[host], "-c", code], text=True)  # noqa: S603
        python, *versions = json.loads(answer)
        found += [f"{name} {version}" for name, version in zip(names, versions, strict=True)]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; Python {python}, "
        f"{', '.join(found)}. The service is a process of its own on the same machine: over "
        f"loopback a request takes next to no time, so that what is left is what each side spends."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
