"""The figures of the benchmark stand in one file; tables and plots are made of it."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.docs.blocks import ROOT

RESULTS = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))
IMAGES = ROOT / "docs/images"
PLOTS = sorted(path.name for path in IMAGES.glob("benchmark-*.svg"))
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
WAITING = [each for each in RESULTS["sections"] if each["part"] == "waiting"]
IMPORT = [each for each in RESULTS["sections"] if each["part"] == "import"]
SHOWN = {
    "benchmark-cpu.svg": (WAITING, "CPU time per wait and interval"),
    "benchmark-requests.svg": (WAITING, "requests per interval"),
    "benchmark-delays.svg": (WAITING, "delay"),
    "benchmark-imports.svg": (IMPORT, ""),
}
"""Of each plot, the sections and the beginning of the rows that it shows."""


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return the modules that make tables and plots."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("report"), importlib.import_module("plots")


def words(svg: str) -> list[str]:
    """Return the texts of a plot."""
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314  # our own
    return ["".join(each.itertext()) for each in found]


def figures(sections: list[Any], row: str = "") -> list[str]:
    """Return the figures of rows, of both sides, as a person reads them."""
    found = [
        each[who]
        for section in sections
        for each in section["rows"]
        for who in ("ours", "theirs")
        if each["name"].startswith(row) and each[who] is not None
    ]
    whole = [figure.partition(".") for figure in found]
    return [f"{int(before):,}{point}{after}" for before, point, after in whole]


def test_the_tables_are_what_the_figures_give(scripts: Any) -> None:
    """benchmarks/results.md is made of results.json, and nothing was written into it by hand."""
    report, _ = scripts
    written = (ROOT / "benchmarks/results.md").read_text("utf-8")
    assert written == report.markdown(RESULTS), "make it anew: python benchmarks/report.py"


def test_a_figure_is_rounded_once(scripts: Any) -> None:
    """Its last digit counts in data and tables alike; limits are judged by what was measured."""
    report, _ = scripts
    made = report.Report("A machine", 7)
    made.section("waiting", "Some waits", "Ours", "Theirs", waits=3)
    made.row("requests", 9.999, 1234.4, most=9.9999, most_of_theirs=0.008)
    (row,) = made.results["sections"][0]["rows"]
    assert (row["ours"], row["theirs"], row["ratio"]) == ("10.00", "1234", "0.008")
    line = "| requests | 10.00 | 1,234 | 0.008 | 9.9999: kept; 0.008 of theirs: **missed** |"
    assert line in report.markdown(made.results).splitlines()
    assert made.missed


def test_every_plot_is_shown(scripts: Any) -> None:
    """What is drawn, what there is and what the tables' page shows are the same pictures."""
    report, plots = scripts
    assert PLOTS == sorted(plots.DRAW) == sorted(report.PLOTS) == sorted(SHOWN)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_what_the_figures_give(name: str, scripts: Any) -> None:
    """The picture is made of results.json, small, and without a date or a program's version."""
    _, plots = scripts
    made = plots.svg(plots.DRAW[name], RESULTS)
    again = "make it anew: .venvs/docs/bin/python benchmarks/plots.py"
    assert (IMAGES / name).read_text("utf-8") == made, again
    assert len(made.encode()) < 40_000
    assert not re.search(r"matplotlib v|<metadata|\b20\d\d-\d\d", made, re.IGNORECASE)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_shows_the_figures_and_no_other(name: str) -> None:
    """Each number is in the data or stands at an axis, and none of the rows is left out."""
    sections, row = SHOWN[name]
    texts = words((IMAGES / name).read_text("utf-8"))
    seen = [number for text in texts for number in NUMBER.findall(text)]
    wanted = figures(sections, row)
    names = {each[who] for each in sections for who in ("ours", "theirs")}
    heads = {each["name"] for each in IMPORT[0]["rows"]} if sections is IMPORT else set()
    assert [name for name in names | heads if not any(name in text for text in texts)] == []
    assert [number for number in set(wanted) if wanted.count(number) > seen.count(number)] == []
    scales = {f"{each[key]:,g}" for each in WAITING for key in ("waits", "interval")}
    axis = {"0", *(f"{10**power:,}" for power in range(6)), "99"}  # the row's name has 99 %
    assert set(seen) - set(wanted) - scales - axis == set()


@pytest.mark.parametrize("name", PLOTS)
def test_what_is_drawn_moves_with_each_figure(name: str, scripts: Any) -> None:
    """Not only the numbers in a plot are those of the data: so are its points, lines and bars."""
    _, plots = scripts

    def drawn(results: Any) -> str:
        return re.sub(r"<text.*?</text>", "", plots.svg(plots.DRAW[name], results))

    part, beginning = SHOWN[name][0][0]["part"], SHOWN[name][1]
    first = drawn(RESULTS)
    other = json.loads(json.dumps(RESULTS))
    for section in (each for each in other["sections"] if each["part"] == part):
        for row in (each for each in section["rows"] if each["name"].startswith(beginning)):
            measured = row["ours"]
            row["ours"] = str(float(measured) * 2)
            assert drawn(other) != first, f"{section['title']}: {row['name']}"
            row["ours"] = measured


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_can_be_read_in_light_and_in_dark_mode(name: str) -> None:
    """Each colour has one for dark mode, and text stands out from paper and shade in both."""
    svg = (IMAGES / name).read_text("utf-8")
    style, _, drawn = svg.partition("</style>")
    in_dark = dict(re.findall(r'"fill: (#\w{6})"\]\{fill: (#\w{6}) !important\}', style))
    assert set(re.findall(r"#\w{6}\b", drawn)) <= set(in_dark)
    ink = {
        colour
        for text in re.findall(r"<text[^>]*>", drawn)
        for colour in re.findall(r"#\w{6}", text)
    }
    paper = set(re.findall(r"#\w{6}\b", drawn)) - ink
    assert ink
    assert paper
    for colour in ink:
        for under in paper:
            assert contrast(colour, under) >= 4.5
            assert contrast(in_dark[colour], in_dark[under]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG has it: from 1 to 21."""
    weak, strong = sorted(luminance(colour) for colour in (one, other))
    return (strong + 0.05) / (weak + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
