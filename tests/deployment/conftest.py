"""What a session of deployment tests leaves for the table of versions and scenarios.

A test says which scenario it proves: ``@pytest.mark.scenario("gate, {mode}: red")``, with its
parameters filled in. What became of each is written to ``.results/`` when a session ends to which
the Makefile has given a name, for ``tools/table.py``.
"""

from __future__ import annotations

import json
import os
import signal
from importlib.metadata import distributions
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / ".results"
SESSION = "EMPIRICAL_TESTS_SESSION"


class Results:
    """What became of each scenario in this session."""

    def __init__(self) -> None:
        self._scenarios: dict[str, tuple[str, str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport:
        """Take in one phase of one test; the worst of a scenario counts."""
        report: pytest.TestReport = yield
        marker = item.get_closest_marker("scenario")
        if marker is not None:
            parameters = getattr(item, "callspec", None)
            name = marker.args[0].format(**(parameters.params if parameters else {}))
            if report.failed:
                self._scenarios[name] = ("failed", f"{item.name} in {call.when}")
            elif report.skipped and isinstance(report.longrepr, tuple):
                self._scenarios.setdefault(name, ("skipped", report.longrepr[2]))
            elif call.when == "call":
                known = self._scenarios.get(name)
                if known is None or known[0] != "failed":
                    self._scenarios[name] = ("passed", "")
        return report

    def write(self, session: str) -> None:
        """Write it down."""
        [(host, found)] = [
            (host, next(distributions(name=package)).version)
            for host, package in (("Airflow", "apache-airflow"), ("Prefect", "prefect"))
            if [*distributions(name=package)]
        ]
        RESULTS.mkdir(exist_ok=True)
        told = {"host": host, "version": found, "scenarios": self._scenarios}
        (RESULTS / f"{session}.json").write_text(json.dumps(told, indent=1))


def pytest_configure(config: pytest.Config) -> None:
    """Take results in, if the Makefile has given the session a name."""
    if SESSION in os.environ:
        config.pluginmanager.register(Results(), SESSION)
    # Whoever ends the tests from outside wants the hosts gone, too: as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


FIRST, LAST = "test_processes", "test_leaks"
"""Airflow's `test_processes` has a deployment of its own, which has gone before the one of all the
others comes up; `test_leaks` searches what all of them have left."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the modules; a test may take as long as several of its waits, each of some minutes."""
    items.sort(key=lambda item: (item.path.stem == LAST, item.path.stem != FIRST))
    for item in items:
        item.add_marker(pytest.mark.timeout(1200))


def started_by(request: pytest.FixtureRequest) -> list[str]:
    """Return what the selected tests of a module need to have started.

    A test says so by ``@pytest.mark.starts("name")``. A fixture of the module starts all of it at
    once, and each test waits for its own.
    """
    names = [
        name
        for item in request.session.items
        if item.path == request.path
        for marker in item.iter_markers("starts")
        for name in marker.args
    ]
    return [*dict.fromkeys(names)]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the results of this session."""
    results = config.pluginmanager.get_plugin(SESSION)
    if isinstance(results, Results):
        results.write(os.environ[SESSION])
