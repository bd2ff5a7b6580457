"""Reading runs without a gate: long outages, and lists that grow while they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from empirical_provider import EmpiricalClient, EmpiricalError
from tests.simulator.machine import ACTOR, Endless
from tests.simulator.oracle import Rule, Violation
from tests.simulator.service import Fault, Service
from tests.simulator.waits import settings_for
from tests.simulator.world import Dialect, Result, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["violations_of_reading"]


def violations_of_reading(rng: Random, service: Service, seed: int) -> Iterator[Violation]:
    """Read a run through a long outage, and a list that grows; yield what went wrong."""
    ACTOR.set("reader")
    settings = settings_for(rng, seed)
    service.dialect = Dialect(per_page=rng.choice((100, 10)))
    for number in range(230):
        created = number - 1_000.0
        service.add(Run(service.new_id(), "staging", created, [(created, "started")], Result(1)))
    try:
        if rng.random() < 0.25:
            yield from _outage(rng, service, settings)
        else:
            yield from _growth(rng, service, settings)
    except EmpiricalError as error:
        yield Violation(Rule.LIST_INCOMPLETE, f"the list could not be read: {error}")
    except Endless:
        yield Violation(Rule.ENDLESS, "the reading has no end")
    except Exception as error:  # noqa: BLE001  # that is what must not come
        yield Violation(Rule.CRASHED, f"reading: {error!r}")


def _outage(rng: Random, service: Service, settings: dict[str, object]) -> Iterator[Violation]:
    """Hours without a service, in a request that may be sent again for a day."""
    run = min(service.runs)
    service.faults.append(Fault("page", -1.0, rng.uniform(12_000.0, 16_000.0), "500"))
    with EmpiricalClient(**settings) as client:
        if client.get_test_run(run, retry_for=86_400.0).id != run:
            yield Violation(Rule.ADOPTED_WRONG, "another run was read")


def _growth(rng: Random, service: Service, settings: dict[str, object]) -> Iterator[Violation]:
    """Runs that start while the list is read, up to several pages of them at once."""
    there = set(service.runs)
    more = rng.choice((0, 1, 10, 100, 150))
    listed = []

    def grow() -> None:
        for _ in range(more):
            now = service.machine.now
            service.add(Run(service.new_id(), "staging", now, [(now, "queued")]))

    with EmpiricalClient(**settings) as client:
        for run in client.list_test_runs(per_page=min(100, service.dialect.per_page)):
            if not listed:
                grow()
            listed.append(run.id)
    left_out = there - set(listed)
    if left_out or len(listed) != len(set(listed)):
        yield Violation(
            Rule.LIST_INCOMPLETE,
            f"{len(left_out)} of {len(there)} runs were left out when {more} more started",
        )
