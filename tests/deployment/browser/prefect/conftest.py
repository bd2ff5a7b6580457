"""A whole Prefect with a shop's blocks and flow runs, and the local Empirical that they go by."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator
from tests.deployment.prefect.conftest import pytest_configure, pytest_unconfigure
from tests.deployment.prefect.host import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEY", "prefect", "pytest_configure", "pytest_unconfigure", "python", "releases", "shop"]

KEY = "emp-key-3b7e90c5a1"
FLOWS = Path(__file__).parent / "flows"


@pytest.fixture(scope="session")
def shop() -> Iterator[Emulator]:
    """Return a local Empirical: red in staging, green in production."""
    ends = {"staging": "failed", "production": "passed"}
    with Emulator(
        api_keys=[KEY], environments=ends, advance="time", state_seconds=0.5
    ) as empirical:
        empirical.script("staging", "failed", total=48, failed=2)
        empirical.script("production", "passed", total=48)
        yield empirical


@pytest.fixture(scope="session")
def prefect() -> Iterator[Deployment]:
    """Return a running Prefect."""
    with Deployment() as prefect:
        yield prefect


@pytest.fixture(scope="session")
def releases(prefect: Deployment, shop: Emulator) -> dict[str, str]:
    """Save the blocks and run the flows; return the id of the red and of the green flow run."""
    keys = {"SHOP_API_KEY": KEY, "SHOP_EMPIRICAL": shop.url}
    told = python(prefect, str(FLOWS / "shop_release.py"), **keys)
    flow_runs: dict[str, str] = json.loads(told.splitlines()[-1])
    return flow_runs


def python(prefect: Deployment, *arguments: str, **environment: str) -> str:
    """Run Python against the server, in a process of its own; return what it printed.

    Playwright has an event loop in this one, where Prefect would behave as in an async function.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**prefect.environment, **environment},
        cwd=prefect.home,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
