"""What the tests of every environment share: a local Empirical, and a key worth searching for."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from empirical_provider.emulator import Emulator
from tests.examples import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

KEY = "emp-key-5f1d0c7ab9"

settings.register_profile("thorough", max_examples=100, deadline=None)
settings.register_profile("quick", max_examples=25, deadline=None)
settings.load_profile("thorough" if THOROUGH else "quick")

# Hosts and examples leave files in the folder for temporary ones. Here and in the processes that
# tests start it is one that goes with the tests; `tmp_path` stays outside, to look into afterwards.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
TEMPORARY = Path(tempfile.mkdtemp(prefix="tests-"))
TEMPORARY.chmod(0o711)  # PostgreSQL's user has its folder in it
os.environ["TMPDIR"] = tempfile.tempdir = str(TEMPORARY)

atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)  # the first one is called last


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``ONE_VARIANT``, run one variant of each test that has a sync and an async one.

    `test_twins` shows that the variants are the same code. Of half of the tests it is the sync one,
    of the others the async one; ``make test-all`` runs both.
    """
    if "ONE_VARIANT" not in os.environ:
        return
    variants: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        words = re.split(r"([\[\]-])", item.nodeid)
        for variant in {"sync", "async"}.intersection(words):
            test = "".join("*" if word == variant else word for word in words)
            variants.setdefault(test, {})[variant] = item
    left_out = {
        both["async" if zlib.crc32(test.encode()) % 2 else "sync"].nodeid
        for test, both in variants.items()
        if len(both) == 2
    }
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]


def pytest_sessionstart(session: pytest.Session) -> None:
    """End at Ctrl-C in any case: what is tested may take it for its own, as a command does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        session.shouldstop = "Ctrl-C"
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)


@pytest.fixture(scope="session")
def _local_empirical() -> Iterator[Emulator]:
    with Emulator(api_keys=[KEY]) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def _swift_empirical() -> Iterator[Emulator]:
    with Emulator(api_keys=[KEY], advance="time", state_seconds=0.1) as emulator:
        yield emulator


@pytest.fixture
def empirical(request: pytest.FixtureRequest) -> Emulator:
    """Return a local Empirical that accepts `KEY` only and remembers nothing."""
    swift = request.node.get_closest_marker("swift")
    name = "_swift_empirical" if swift else "_local_empirical"
    emulator: Emulator = request.getfixturevalue(name)
    emulator.reset()
    return emulator


@pytest.fixture
def api_key() -> str:
    """Return the key that the local Empirical accepts."""
    return KEY
