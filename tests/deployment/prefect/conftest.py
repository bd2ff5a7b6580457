"""One whole Prefect for all modules, so that the last one can search all that is left of them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.deployment.prefect.host import Deployment

PREFECTS_OWN_WARNINGS = (
    # Prefect leaves clients to the garbage collector.
    "ignore:unclosed:ResourceWarning",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let Prefect's own warnings be."""
    for each in PREFECTS_OWN_WARNINGS:
        config.addinivalue_line("filterwarnings", each)


def pytest_unconfigure() -> None:
    """Collect what Prefect has left open before pytest does, which takes it for an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def prefect() -> Iterator[Deployment]:
    """Return a running Prefect."""
    with Deployment() as prefect:
        yield prefect
