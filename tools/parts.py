"""Runs the parts of `make test`, each with a log of its own, and shows all of them on one screen.

`run NAME COMMAND ...` runs one part; `show NAME ...` says what became of these, how long each took,
which tests were the slowest, and where the log of a failure is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".results" / "parts"
SLOWEST = 10
MOST_FAILURES = 20


@dataclass(frozen=True)
class Part:
    """What became of one part.

    Args:
        name: Its name, as the Makefile has it.
        status: The exit status of its command.
        seconds: How long the command took.
        cpu_seconds: The processor time of the command, and of the processes that it waited for.
    """

    name: str
    status: int
    seconds: float
    cpu_seconds: float

    @property
    def log(self) -> Path:
        """The file with the output of the command."""
        return FOLDER / f"{self.name}.log"

    @property
    def tests(self) -> list[tuple[str, float, str]]:
        """Name, seconds and outcome of each of its tests, if it has any."""
        file = FOLDER / f"{self.name}.xml"
        if not file.exists():
            return []
        return [
            (
                f"{case.get('classname', '')}::{case.get('name', '')}".lstrip(":"),
                float(case.get("time", 0)),
                next((child.tag for child in case if child.tag != "properties"), "passed"),
            )
            for case in ET.parse(file).iter("testcase")  # noqa: S314  # pytest has written it
        ]

    def line(self) -> str:
        """Return one line about it."""
        outcomes = [outcome for _, _, outcome in self.tests]
        counts = ", ".join(
            f"{outcomes.count(tag):,} {word}"
            for tag, word in (
                ("passed", "passed"),
                ("skipped", "skipped"),
                ("failure", "failed"),
                ("error", "in error"),
            )
            if tag in outcomes
        )
        sign = "ok    " if self.status == 0 else "FAILED"
        took = f"{int(self.seconds // 60):3d}:{int(self.seconds % 60):02d}"
        return f"{sign} {took}  {self.cpu_seconds:6.0f} s of CPU  {self.name:<20} {counts}".rstrip()


def run(name: str, command: list[str]) -> int:
    """Run a part; print one line about it, and the end of its log if it has failed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (
        (FOLDER / f"{name}.log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        while process.poll() is None:
            with suppress(KeyboardInterrupt):  # the command is told of it, too
                process.wait()
    took = time.monotonic() - began
    part = Part(name, process.returncode, took, _cpu_seconds())
    (FOLDER / f"{name}.json").write_text(json.dumps(asdict(part)))
    say(part.line())
    return part.status


def _cpu_seconds() -> float:
    import resource  # noqa: PLC0415  # not on each platform

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(names: list[str]) -> int:
    """Print what became of the parts; return the exit status for all of them."""
    parts, missing = [], []
    for name in names:
        file = FOLDER / f"{name}.json"
        if file.exists():
            parts.append(Part(**json.loads(file.read_text())))
        else:
            missing.append(name)
    say("\nWhat ran:")
    for part in sorted(parts, key=lambda part: -part.seconds):
        say(f"  {part.line()}")
    slow = sorted(((took, name) for part in parts for name, took, _ in part.tests), reverse=True)
    if slow:
        say("\nThe slowest tests:")
    for took, name in slow[:SLOWEST]:
        say(f"  {took:6.1f} s  {name}")
    failed = [part for part in parts if part.status != 0]
    for part in failed:
        say(f"\n{part.name} failed; its log: {part.log.relative_to(FOLDER.parents[1])}")
        bad = [name for name, _, outcome in part.tests if outcome in {"failure", "error"}]
        for name in bad[:MOST_FAILURES]:
            say(f"  {name}")
        if len(bad) > MOST_FAILURES:
            say(f"  and {len(bad) - MOST_FAILURES} more")
    for name in missing:
        say(f"\n{name} did not run.")
    return int(bool(failed or missing))


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run")
    running.add_argument("name")
    running.add_argument("command", nargs=argparse.REMAINDER)
    showing = actions.add_parser("show")
    showing.add_argument("names", nargs="+")
    options = parser.parse_args()
    if options.action == "run":
        return run(options.name, options.command)
    return show(options.names)


if __name__ == "__main__":
    sys.exit(main())
