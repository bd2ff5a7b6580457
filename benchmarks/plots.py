"""Plots of the benchmark, made of `results.json`: the last step of `make bench`.

The same figures give the same bytes. Text is text, and colours follow the reader's light or dark
mode.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from report import HERE, shown

IMAGES = HERE.parent / "docs" / "images"

WIDTH = 7.4
"""Inches; a page shows them as 710 pixels."""

SIZE, LINE = 9, 12
"""Printer's points: of letters, and from line to line."""

FONTS = "font-family: system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif !important"

PAPER, INK, MUTED, FAINT = "#ffffff", "#1f2328", "#59636e", "#e4e8ec"
COLOURS = {"ours": "#0757ba", "theirs": "#9a4a00"}

IN_DARK = {
    PAPER: "#161a20",
    INK: "#e6edf3",
    MUTED: "#9aa4af",
    FAINT: "#2d333b",
    COLOURS["ours"]: "#58a6ff",
    COLOURS["theirs"]: "#f0a04b",
}
"""What becomes of each colour in dark mode."""

_LOOK = {
    "figure.facecolor": PAPER,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": SIZE,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "empirical-provider",
    "text.color": INK,
}

Sections = Sequence[Mapping[str, Any]]


def over_waits(sections: Sections, name: str) -> Figure:
    """Draw a row of all sections on waiting, over the number of waits."""
    waiting = _part(sections, "waiting")
    title = name[0].upper() + name[1:]
    about = f"{_row(waiting[0], name)['unit'] or 'of all waits'}, on a logarithmic scale"
    figure, axes = _figure(3.4, (0.08, 0.16, 0.65, 0.64), title, about)
    values = []
    for who, side in (("ours", -1), ("theirs", 1)):
        known = [s for s in waiting if _row(s, name)[who] is not None]
        points = [(s["waits"], float(_row(s, name)[who])) for s in known]
        axes.plot(*zip(*points, strict=True), color=COLOURS[who], linewidth=2, marker="o")
        for section, point in zip(known, points, strict=True):
            text = shown(_row(section, name)[who])
            _write(axes, text, point, (0, 11 * side), COLOURS[who], ha="center")
        label = waiting[0][who]
        if len(known) < len(waiting):
            label += f"\nnot measured with more than {known[-1]['waits']:,}"
        _write(axes, label, points[-1], (14, 0), COLOURS[who])
        values += [value for _, value in points]
    axes.set(xscale="log", xlim=(waiting[0]["waits"] / 1.6, waiting[-1]["waits"] * 1.3))
    axes.set(yscale="log", ylim=(min(values) / 3, max(values) * 2))
    for axis in (axes.xaxis, axes.yaxis):  # what stands at an axis is written by hand, as below
        axis.set_major_locator(NullLocator())
        axis.set_minor_locator(NullLocator())
    for section in waiting:
        _write(axes, _scale(section), (section["waits"], 0), (0, -8), ha="center", at="x")
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    for decade in (10**power for power in range(math.ceil(low), math.floor(high) + 1)):
        axes.axhline(decade, xmax=0.012, color=MUTED, linewidth=1)
        _write(axes, f"{decade:,}", (0, decade), (-6, 0), ha="right", at="y")
    return figure


def imports(sections: Sections) -> Figure:
    """Draw what imports cost, each as a part of what the peer's costs."""
    parts = _part(sections, "import")
    columns, width = (45, 65, 84), 8
    about = "bars: as a part of what the peer's costs"
    figure, axes = _figure(3.0, (0.02, 0.03, 0.96, 0.76), "Cost of an import", about)
    axes.set(xlim=(0, 100), ylim=(3.5 * len(parts) - 0.7, -0.5))
    for x, row in zip(columns, parts[0]["rows"], strict=True):
        _write(axes, row["name"], (x, -1.2))
    for index, section in enumerate(parts):
        top = 3.5 * index
        _write(axes, section["title"].partition(": ")[2].replace("`", '"'), (0, top))
        for y, who in ((top + 1, "ours"), (top + 2, "theirs")):
            _write(axes, section[who], (0, y), colour=COLOURS[who])
            for x, row in zip(columns, section["rows"], strict=True):
                length = width * float(row[who]) / float(row["theirs"])
                axes.barh(y, length, left=x, height=0.66, color=COLOURS[who])
                text = f"{shown(row[who])} {row['unit']}".strip()
                _write(axes, text, (x + length, y), (4, 0), COLOURS[who])
    return figure


def delays(sections: Sections) -> Figure:
    """Draw how late events are, in the interval between two looks."""
    waiting = _part(sections, "waiting")
    about = "in s; dot: the median; end of the line: 99 %; shaded: the interval between two looks"
    figure, axes = _figure(
        3.5, (0.18, 0.09, 0.79, 0.72), "Delay from a run's end to the event", about
    )
    for index, section in enumerate(waiting):
        top, interval = 2.5 * index, section["interval"]
        axes.barh(top + 0.5, interval, height=2, color=FAINT)
        _write(axes, _scale(section), (0, top + 0.5), (-10, 0), ha="right")
        for y, who in ((top, "ours"), (top + 1, "theirs")):
            colour, name = COLOURS[who], section[who]
            middle, most = (
                _row(section, f"delay from the run's end to the event, {which}")[who]
                for which in ("median", "99 %")
            )
            if middle is None:
                _write(axes, f"{name}: not measured", (0, y), (8, 0), colour)
                continue
            axes.plot([float(middle), float(most)], [y, y], color=colour, linewidth=2)
            axes.plot(float(middle), y, color=colour, marker="o")
            _write(axes, shown(middle), (float(middle), y), (-7, 0), colour, ha="right")
            _write(axes, shown(most), (float(most), y), (6, 0), colour)
            if index == 0:
                _write(axes, name, (float(most), y), (36, 0), colour)
    intervals = [section["interval"] for section in waiting]
    axes.set(xlim=(0, 1.05 * max(intervals)), ylim=(2.5 * len(waiting) - 0.8, -0.8))
    for seconds in (0, *intervals):
        _write(axes, f"{seconds:g} s", (seconds, 0), (0, -8), ha="center", at="x")
    return figure


def _figure(
    height: float, place: tuple[float, float, float, float], title: str, about: str
) -> tuple[Figure, Axes]:
    """Return a figure with its heading, and its bare axes."""
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.02, 1 - 0.26 / height, title, weight="bold", size=SIZE + 1)
    figure.text(0.02, 1 - 0.45 / height, about, color=MUTED)
    return figure, figure.add_axes(place, frame_on=False, xticks=[], yticks=[])


def _write(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    away: tuple[float, float] = (0, 0),
    colour: str = MUTED,
    *,
    ha: str = "left",
    at: str = "",
) -> None:
    """Write beside a point, or at an axis, so many printer's points away.

    Lines are set one by one, and by their baseline: where they stand hangs on no font's measures.
    """
    where = {"x": axes.get_xaxis_transform, "y": axes.get_yaxis_transform}
    for index, line in enumerate(text.split("\n")):
        offset = (away[0], away[1] - 0.36 * SIZE - LINE * index)
        axes.annotate(
            line,
            point,
            offset,
            where[at]() if at else "data",
            "offset points",
            color=colour,
            ha=ha,
            va="baseline",
            annotation_clip=False,
        )


def _scale(section: Mapping[str, Any]) -> str:
    return f"{section['waits']:,} waits\na look every {section['interval']:g} s"


def _part(sections: Sections, part: str) -> Sections:
    return [section for section in sections if section["part"] == part]


def _row(section: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(row for row in section["rows"] if row["name"] == name)


DRAW: dict[str, Callable[[Sections], Figure]] = {
    "benchmark-cpu.svg": partial(over_waits, name="CPU time per wait and interval"),
    "benchmark-requests.svg": partial(over_waits, name="requests per interval"),
    "benchmark-delays.svg": delays,
    "benchmark-imports.svg": imports,
}


def svg(draw: Callable[[Sections], Figure], results: Mapping[str, Any]) -> str:
    """Return a plot of the figures, the same wherever it is made."""
    written = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK)
        figure = draw(results["sections"])
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    dark = "".join(
        f'[style*="{kind}: {light}"]{{{kind}: {dark} !important}}'
        for light, dark in IN_DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"text{{{FONTS}}}@media(prefers-color-scheme:dark){{{dark}}}"
    text = written.getvalue().replace("</style>", f"{style}</style>", 1)
    text = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=HERE / "results.json")
    parser.add_argument("--into", type=Path, default=IMAGES, help="default: %(default)s")
    options = parser.parse_args()
    results = json.loads(options.results.read_text("utf-8"))
    for name, draw in DRAW.items():
        (options.into / name).write_text(svg(draw, results), "utf-8")


if __name__ == "__main__":
    main()
