"""What this package costs, beside its peers, measured in one run: `make bench`.

Every figure is a median of at least seven, taken in turn (ours, theirs, ours, theirs), each in a
process of its own that talks to a local service over TLS. Prints the tables and writes
`results.json` and, from it, `results.md`; the exit status is 1 if a limit that we have set
ourselves is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import trustme
from report import HERE, Report, machine, markdown, write

REQUESTS, BATCHES = 50, 10
"""Requests of one batch, and batches of each subject, when runs are triggered."""

SCALES = {100: 2.0, 1_000: 5.0, 10_000: 10.0}
"""How many waits, and the seconds between two looks of each."""

MOST_OF_PEERS = 1_000
"""The peer opens a connection for each look: more of its waits at once are not tried."""


class Bench:
    """The processes that measure.

    Args:
        pythons: The interpreter of each host's environment.
        repeats: How often each is measured.
        folder: Where hosts may write.
    """

    def __init__(self, pythons: Mapping[str, Path], repeats: int, folder: Path) -> None:
        self._pythons = pythons
        self.repeats = repeats
        authority = trustme.CA()
        trusted, self._certificate = folder / "authority.pem", folder / "certificate.pem"
        authority.cert_pem.write_to_path(str(trusted))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self._certificate))
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
        self._environment = {
            **kept,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "SSL_CERT_FILE": str(trusted),
        }

    def measure(self, host: str, script: str, *arguments: object) -> Any:
        """Run a script in a host's environment, and return what its last line says."""
        command = [self._pythons[host], HERE / script, *(str(each) for each in arguments)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{script} {arguments} has failed:\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    def in_turn(self, subjects: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
        """Measure all subjects, one after the other, as often as was asked for."""
        found: dict[str, list[Any]] = {name: [] for name in subjects}
        for turn in range(self.repeats):
            for name, measure in subjects.items():
                print(f"  {name}, {turn + 1} of {self.repeats}", file=sys.stderr, flush=True)
                found[name].append(measure())
        return found

    @contextmanager
    def service(self) -> Iterator[int]:
        """Serve both APIs; gives the port."""
        command = [self._pythons["airflow"], HERE / "service.py", self._certificate]
        with subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                yield int(process.stdout.readline())
            finally:
                process.terminate()


def imports(bench: Bench, report: Report) -> None:
    """Measure what it costs to have the package installed."""
    for title, host, base, modules, most in (
        (
            "Operator module, on top of `from airflow.sdk import DAG`",
            "airflow",
            "airflow.sdk",
            ("empirical_provider.airflow.operators", "airflow.providers.dbt.cloud.operators.dbt"),
            (20.0, 0.05),
        ),
        (
            "Prefect package, on top of `import prefect`",
            "prefect",
            "prefect",
            ("empirical_provider.prefect", "prefect_dbt.cloud"),
            (15.0, 0.02),
        ),
    ):

        def measure(host: str = host, base: str = base, module: str = "") -> Any:
            return bench.measure(host, "imports.py", base, module)

        found = bench.in_turn({m: lambda m=m, run=measure: run(module=m) for m in modules})
        ours, theirs = (
            {k: median(each[k] for each in found[m]) for k in found[m][0]} for m in modules
        )
        report.section("import", f"Import: {title}", *modules)
        report.row("time", ours["ms"], theirs["ms"], "ms", most=most[0], most_of_theirs=most[1])
        report.row("modules", ours["modules"], theirs["modules"])
        report.row("memory", ours["memory"] / 2**20, theirs["memory"] / 2**20, "MiB")


def triggering(bench: Bench, report: Report) -> None:
    """Measure what starting a run costs."""
    with bench.service() as port:
        found = bench.measure("airflow", "triggering.py", REQUESTS, BATCHES, port)
    report.section(
        "trigger",
        f"Trigger: {REQUESTS * BATCHES} runs started, each over one connection that is kept alive",
        "client.trigger",
        "httpx.Client.put",
    )
    for index, (name, most) in enumerate({"wall time": 1.2, "CPU time": 1.5}.items()):
        ours, theirs = (
            1000 * median(batch[index] for batch in found[who]) / REQUESTS
            for who in ("ours", "httpx")
        )
        report.row(f"{name} of each", ours, theirs, "ms", most_of_theirs=most)


def waiting(bench: Bench, report: Report) -> None:
    """Measure what it costs to wait for many runs at once."""
    for waits, interval in SCALES.items():
        with bench.service() as port:

            def measure(
                who: str, waits: int = waits, interval: float = interval, port: int = port
            ) -> Any:
                return bench.measure("airflow", "waiting.py", who, waits, interval, port)

            subjects = ["ours", "dbt-cloud"] if waits <= MOST_OF_PEERS else ["ours"]
            found = bench.in_turn({who: lambda who=who: measure(who) for who in subjects})
        figures = {who: _of_waits(found[who]) for who in subjects}
        ours, theirs = figures["ours"], figures.get("dbt-cloud", {})
        report.section(
            "waiting",
            f"{waits:,} waits in one process, a look every {interval:g} s",
            "EmpiricalTestRunTrigger",
            "DbtCloudRunJobTrigger",
            waits=waits,
            interval=interval,
        )
        limits = _LIMITS.get(waits, {})
        for name, unit in _ROWS.items():
            most = {
                key: limit * interval + slack if name.startswith(("delay", "longest")) else limit
                for key, (limit, slack) in limits.get(name, {}).items()
            }
            report.row(name, ours[name], theirs.get(name), unit, **most)


_ROWS = {
    "requests per interval": "",
    "TLS connections in all": "",
    "CPU time per wait and interval": "µs",
    "part of one core": "%",
    "memory per wait": "KB",
    "longest round": "s",
    "delay from the run's end to the event, median": "s",
    "delay from the run's end to the event, 99 %": "s",
}

_LIMITS: dict[int, dict[str, dict[str, tuple[float, float]]]] = {
    1_000: {
        "requests per interval": {"most": (12, 0)},
        "TLS connections in all": {"most": (2, 0)},
        "CPU time per wait and interval": {"most_of_theirs": (0.1, 0)},
        "memory per wait": {"most": (20, 0)},
    },
    10_000: {
        "part of one core": {"most": (50, 0)},
        "longest round": {"most": (1, 0)},
        "delay from the run's end to the event, median": {"most": (0.6, 0)},
        "delay from the run's end to the event, 99 %": {"most": (1, 1)},
    },
}
"""The limits we have set ourselves: a factor and a summand; for times a factor of the interval."""


def _of_waits(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures of one subject; those of delays are of the events of all turns."""

    def middle(name: str, factor: float = 1.0) -> float:
        return factor * median(each[name] for each in found)

    delays = sorted(delay for each in found for delay in each["delays"])
    figures = (
        middle("requests"),
        max(each["connections"] for each in found),
        middle("cpu", 1e6),
        middle("core", 100),
        middle("memory", 1e-3),
        max(each["longest"] for each in found),
        median(delays),
        delays[int(0.99 * len(delays))],
    )
    return dict(zip(_ROWS, figures, strict=True))


PARTS = {"imports": imports, "trigger": triggering, "waiting": waiting}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--airflow-python", type=Path, required=True)
    parser.add_argument("--prefect-python", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--only", choices=PARTS, help="one part; then no file is written")
    options = parser.parse_args()
    pythons = {"airflow": options.airflow_python, "prefect": options.prefect_python}
    report = Report(machine(pythons), options.repeats)
    with tempfile.TemporaryDirectory(prefix="empirical-bench-") as folder:
        bench = Bench(pythons, options.repeats, Path(folder))
        for name, part in PARTS.items():
            if options.only in {None, name}:
                print(f"{name}:", file=sys.stderr, flush=True)
                part(bench, report)
    print(markdown(report.results))
    if options.only is None:
        write(report.results)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
