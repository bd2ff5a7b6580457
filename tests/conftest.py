"""What the tests of every environment share: a local Empirical, and a key worth searching for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "emp-key-5f1d0c7ab9"


@pytest.fixture(scope="session")
def _local_empirical() -> Iterator[Emulator]:
    with Emulator(api_keys=[KEY]) as emulator:
        yield emulator


@pytest.fixture
def empirical(_local_empirical: Emulator) -> Emulator:
    """Return a local Empirical that accepts `KEY` only and remembers nothing."""
    _local_empirical.reset()
    return _local_empirical


@pytest.fixture
def api_key() -> str:
    """Return the key that the local Empirical accepts."""
    return KEY
