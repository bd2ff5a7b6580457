"""Run the quick tests on the built wheel: for each part, Python, and newest or oldest dependencies.

Run by ``make test-wheel`` and ``make test-wheels``. The tests run where the sdist is unpacked,
without its package, so that they find the wheel alone. Prints a table; the exit status is 1 if a
cell is red.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".venvs" / "wheel"
SDIST = PLACE / "sdist"

AT_ONCE = 2
"""Cells at the same time: each keeps one core busy."""

WORDS = {True: "passed", False: "FAILED"}

SUITES = {
    "core": ["tests/core", "tests/cli", "tests/emulator"],
    "airflow": ["tests/airflow"],
    "prefect": ["tests/prefect"],
}
"""What is tested; the sdist leaves out what tests the pages' code blocks."""

OLDEST = {
    "airflow": ["universal-pathlib<0.3"],
    "prefect": ["fastapi<0.135", "importlib-metadata"],
}
"""What the oldest host needs to work at all: the reasons stand in requirements/*.in."""

OLDEST_FOR_313 = {"airflow": ["apache-airflow>=3.1.8"]}
"""Airflow 2.11 and 3.0 stop at Python 3.12, and 3.1.0 cannot import today's structlog."""


class Cell:
    """One environment with the wheel in it.

    Args:
        uv: The uv that makes it.
        part: core, airflow or prefect.
        python: Its Python, as uv finds it.
        age: newest or oldest.
    """

    def __init__(self, uv: Path, part: str, python: str, age: str) -> None:
        self._uv = uv
        self._part = part
        self._python = python
        self._version = _version(python)
        self._age = age
        minor = ".".join(map(str, self._version))
        self._venv = PLACE / f"{part}-{minor}-{age}"
        self.name = f"{part}, Python {minor}, {age}"
        self.output = self._venv.with_name(f"{self._venv.name}.out")

    def test(self, wheel: Path, pytest_args: list[str]) -> bool:
        """Make the environment and run the tests; say whether they passed."""
        extras = ["cli", "emulator", "reports", *([] if self._part == "core" else [self._part])]
        project = ["-r", "pyproject.toml", "--group", "test"]
        project += [word for extra in extras for word in ("--extra", extra)]
        self._run("venv", "--quiet", "--clear", "--python", self._python, str(self._venv))
        self._install(*project, *self._dependencies())
        self._install("--no-deps", "--reinstall", str(wheel))
        # As a module: then the examples are found, too, which are in no package.
        command = [
            self._venv / "bin/python",
            "-m",
            "pytest",
            *SUITES[self._part],
            "-m",
            "not slow and not seconds",
            *pytest_args,
        ]
        with self.output.open("wb") as output:
            done = subprocess.run(
                command, cwd=SDIST, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        return done.returncode == 0

    def _dependencies(self) -> list[str]:
        if self._age == "newest":
            return ["--constraint", f"requirements/{self._part}.txt"]
        needs = OLDEST if self._version < (3, 13) else OLDEST | OLDEST_FOR_313
        return ["--resolution", "lowest-direct", *needs.get(self._part, [])]

    def _install(self, *words: str) -> None:
        self._run("pip", "install", "--quiet", "--python", str(self._venv), *words)

    def _run(self, *words: str) -> None:
        subprocess.run([self._uv, *words], cwd=ROOT, check=True)


def _version(python: str) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    if re.fullmatch(r"3\.\d+", python):
        return tuple(map(int, python.split(".")))
    told = subprocess.check_output([python, "-c", code], text=True)
    return tuple(map(int, told.split()))


def main() -> int:
    """Test the cells that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uv", type=Path)
    parser.add_argument("--parts", nargs="+", choices=SUITES, default=["core"])
    parser.add_argument("--pythons", nargs="+", default=[sys.executable])
    parser.add_argument("--pytest-args", default="")
    options = parser.parse_args()
    [wheel], [sdist] = (list((ROOT / "dist").glob(each)) for each in ("*.whl", "*.tar.gz"))
    shutil.rmtree(PLACE, ignore_errors=True)
    with tarfile.open(sdist) as packed:
        packed.extractall(PLACE, filter="data")
    (PLACE / sdist.name.removesuffix(".tar.gz")).rename(SDIST)
    shutil.rmtree(SDIST / "empirical_provider")
    cells = [
        Cell(options.uv, part, python, age)
        for part in options.parts
        for python in options.pythons
        for age in ("newest", "oldest")
    ]

    def test(cell: Cell) -> str:
        began = time.monotonic()
        passed = cell.test(wheel, options.pytest_args.split())
        print(f"=== {cell.name}\n{cell.output.read_text(errors='replace')}", flush=True)
        return f"{WORDS[passed]}  {time.monotonic() - began:4.0f} s  {cell.name}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(test, cells))
    print("\nThe wheel:", *told, sep="\n")
    return int(any(line.startswith(WORDS[False]) for line in told))


if __name__ == "__main__":
    sys.exit(main())
