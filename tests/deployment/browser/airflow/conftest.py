"""A whole Airflow with a shop's DAGs, all started, and the local Empirical that they go by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator
from tests.deployment.airflow.host import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "emp-key-3b7e90c5a1"
SECRET = "override-value-5c81d2e7f4"
"""What a Variable holds and a task hands on as the value of an override."""


@pytest.fixture(scope="session")
def shop() -> Iterator[Emulator]:
    """Return a local Empirical: red in staging; at night its runs never end."""
    ends = {"staging": "failed", "nightly": "stuck"}
    with Emulator(api_keys=[KEY], environments=ends, advance="time", state_seconds=1) as empirical:
        empirical.script("staging", "failed", total=48, failed=2)
        yield empirical


@pytest.fixture(scope="session")
def deployment(shop: Emulator) -> Iterator[Deployment]:
    """Return the Airflow; its DAGs run while other tests look at other pages."""
    with Deployment(Path(__file__).parent / "dags") as airflow:
        airflow.connect("empirical_default", password=KEY, host=shop.url)
        airflow.set_variable("checkout_code", SECRET)
        airflow.trigger("shop_release", "shop_nightly")
        yield airflow
