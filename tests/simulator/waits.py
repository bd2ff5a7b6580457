"""Makes the runs, the waits for them, and what goes wrong meanwhile, from a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulator.players import Waiter
from tests.simulator.service import Fault, Service
from tests.simulator.world import Dialect, Result, Run

if TYPE_CHECKING:
    from random import Random

__all__ = ["make_waits", "random_fault", "settings_for"]

_HEX = "0123456789abcdef"
_NEVER = 10.0**7

_LIES = (
    "no failures beside a failed row",
    "more passed than all",
    "more failures after snoozing than before",
    "failed rows without a snooze",
    "no numbers",
)
_ODD_WORDS = ("timedOut", "interrupted", "Failed", "FAILED", "broken", "did not run", "unknown")

_KINDS = ("500", "502", "503", "429", "refused", "dropped", "hangs", "slow", "{}", "html", "cut")
_REFUSED = ("401", "403", "404", "302")


def settings_for(rng: Random, seed: int) -> dict[str, Any]:
    """Return the settings of a client."""
    settings: dict[str, Any] = {
        "api_key": f"emp-simulated-{seed}-{rng.randrange(10**9):09}",
        "base_url": "http://localhost:9",
    }
    if rng.random() < 0.8:
        settings["project_slug"] = "shop"
    if rng.random() < 0.3:
        settings["timeout"] = 5.0
    return settings


def make_dialect(rng: Random) -> Dialect:
    """Return what a service may be like to those who wait."""
    dialect = Dialect(
        page_shape=rng.choice(("testRun", "testRun", "testRun", "test_run", "bare")),
        snake_rows=rng.random() < 0.2,
        counts=rng.choice(("all", "all", "all", "vendor", "oldest")),
        rows=rng.random() < 0.75,
        skipped_in_total=rng.random() < 0.5,
        flaky_in_success=rng.random() < 0.4,
        page_commit=rng.random() < 0.3,
        list_commit=rng.random() < 0.9,
        garbled_commit=rng.random() < 0.07,
        list_state=rng.random() < 0.85,
        order=rng.choice(("newest", "newest", "newest", "oldest", "mixed")),
        per_page=rng.choice((100, 100, 3, 5)),
        pagination=rng.random() < 0.85,
        id_filter=rng.random() < 0.7,
        filters=rng.random() < 0.7,
        date=rng.random() < 0.85,
        server_ahead=rng.choice((0.0, 0.0, -3000.0, 40.0)),
        list_lag=rng.choice((0.0, 0.0, 5.0, 90.0, 900.0, 10.0**6)),
        page_lag=rng.choice((0.0, 0.0, 0.0, 3.0)),
        page_appears=rng.choice((0.0, 0.0, 20.0)),
    )
    if dialect.counts != "all":
        dialect.skipped_in_total = False  # or nothing would say how many have run
    dialect.words = {
        "passed": rng.choice(("passed", "passed", "expected", "Passed", "EXPECTED")),
        "flaky": rng.choice(("flaky", "flaky", "Flaky")),
        "skipped": rng.choice(("skipped", "skipped", "fixme", "SKIPPED")),
    }
    return dialect


def make_waits(rng: Random, service: Service, seed: int) -> tuple[str, list[Waiter]]:
    """Make a service with runs, and the waits for some of them."""
    service.dialect = make_dialect(rng)
    mode = rng.choice(("sync", "sync", "reschedule", "async", "shared", "shared"))
    number = 1
    if mode == "async":
        number = rng.choice((1, 1, 2))
    elif mode == "shared":
        number = rng.choice((1, 2, 2, 3, 3, 4, 6, 9))
    for _ in range(rng.randrange(5)):
        _background(rng, service)
    settings = settings_for(rng, seed)
    waiters = []
    for place in range(number):
        waiters.append(_waiter(rng, service, settings, mode, place))
        for _ in range(rng.randrange(3)):
            _background(rng, service)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        waiter = rng.choice(waiters)
        service.faults.append(random_fault(rng, waiter.begins, waiter.deadline, waiter.run_id))
    service.machine.horizon = max(each.deadline for each in waiters) + 5_000.0
    return f"{mode} waits", waiters


def _background(rng: Random, service: Service) -> None:
    created = -rng.uniform(0.0, 50_000.0)
    ended = rng.choice((created + 300.0, _NEVER))
    life = [(created, "queued"), (created + 5.0, "started"), (ended, "ended")]
    service.add(
        Run(
            service.new_id(),
            rng.choice(("staging", "production")),
            created,
            life,
            Result(passed=3),
            commit=_sha(rng),
        )
    )


def _waiter(
    rng: Random, service: Service, settings: dict[str, Any], mode: str, place: int
) -> Waiter:
    begins = rng.choice((0.0, rng.uniform(0.0, 60.0)))
    interval = rng.choice((5.0, 10.0, 10.0, 30.0, 60.0))
    timeout = interval * rng.uniform(1.2, 11.0)
    if rng.random() < 0.04:
        timeout = rng.uniform(0.5, 4.0)
    created = begins - rng.choice((0.1, 2.0, 30.0, 500.0, 6_000.0))
    waiter = Waiter(
        label=f"{mode} {place}",
        run_id=0,
        mode="async" if mode == "shared" and rng.random() < 0.1 else mode,
        begins=begins,
        timeout=timeout,
        poll_interval=interval,
        settings=settings,
    )
    _draw_policy(rng, service.dialect, waiter)
    run = service.add(_run(rng, service, waiter, created))
    waiter.run_id = run.id
    if rng.random() < 0.3:
        waiter.start_timeout = timeout * rng.uniform(0.15, 0.9)
    if rng.random() < 0.35:
        _expect_commit(rng, run, waiter)
    if mode == "reschedule":
        waiter.delay = rng.choice((0.0, rng.uniform(0.0, 5.0)))
    elif rng.random() < 0.3:
        at = begins + timeout * rng.uniform(0.05, 0.95)
        away = rng.choice((0.5, rng.uniform(0.5, 0.5 * timeout)))
        waiter.kills.append((at, away))
        if rng.random() < 0.3:
            waiter.kills.append((at + away + rng.uniform(1.0, 30.0), 1.0))
    return waiter


def _draw_policy(rng: Random, dialect: Dialect, waiter: Waiter) -> None:
    if rng.random() < 0.1:
        waiter.policy["min_tests"] = rng.choice((2, 3, 5))
    if rng.random() < 0.1 and (
        dialect.counts == "all" or (dialect.rows and not dialect.snake_rows)
    ):
        waiter.policy["max_flaky"] = rng.choice((0, 1))
    if rng.random() < 0.1 and dialect.counts != "oldest":
        waiter.policy["count_snoozed_failures"] = True


def _run(rng: Random, service: Service, waiter: Waiter, created: float) -> Run:
    """Make the run that is waited for."""
    begins, deadline, lag = waiter.begins, waiter.deadline, service.dialect.page_lag
    draw = rng.random()
    if draw < 0.1:
        ends = created + 0.5 * (begins - created)
    elif draw < 0.6:
        ends = rng.uniform(begins, deadline)
    elif draw < 0.8:
        ends = deadline - lag - rng.uniform(1.0, 4.0)
    elif draw < 0.9:
        ends = deadline + rng.uniform(20.0, 200.0)
    else:
        ends = _NEVER
    ends = max(ends, created + 0.05)
    starts = (
        created + (ends - created) * rng.choice((0.02, 0.5, 0.97))
        if ends < _NEVER
        else (rng.choice((created + 10.0, rng.uniform(begins, deadline), _NEVER)))
    )
    draw = rng.random()
    last = "ended" if draw < 0.82 else "error" if draw < 0.9 else "cancelled"
    life = [(created, rng.choice(("pending", "queued"))), (starts, "started"), (ends, last)]
    run = Run(service.new_id(), "staging", created, life, _result(rng, service.dialect))
    if last == "ended" and rng.random() < 0.12:
        _let_lie(rng, service.dialect, waiter, run, ends)
    if last == "cancelled" and rng.random() < 0.7:
        _supersede(rng, service, run, ends)
    elif last == "ended" and rng.random() < 0.05:
        _supersede(rng, service, run, ends)
        run.superseded = False
    return run


def _result(rng: Random, dialect: Dialect) -> Result:
    result = Result(passed=rng.choice((1, 3, 6)))
    if rng.random() < 0.3:
        result.flaky = rng.choice((1, 2))
    if rng.random() < 0.3:
        result.skipped = rng.choice((1, 4))
    draw = rng.random()
    if draw < 0.15:
        result.failed = rng.choice((1, 2))
    elif draw < 0.25:
        result.snoozed = rng.choice((1, 2))
    elif draw < 0.35:
        if dialect.counts == "all":
            result.missing = 1 + result.flaky + result.skipped + rng.randrange(3)
    elif draw < 0.41:
        result.passed = result.flaky = 0
        result.skipped = rng.choice((0, 3))
    elif draw < 0.53 and dialect.rows:
        result.odd, result.word = rng.choice((1, 2)), rng.choice(_ODD_WORDS)
    return result


def _let_lie(rng: Random, dialect: Dialect, waiter: Waiter, run: Run, ends: float) -> None:
    lies = _LIES[:3] + _LIES[4:] if waiter.policy.get("count_snoozed_failures") else _LIES
    run.lie = rng.choice(lies)
    run.result.odd = 0
    run.result.passed = max(1, run.result.passed)
    until = ends + dialect.page_lag + rng.uniform(1.0, 35.0)
    run.lie_until = rng.choice((until, float("inf")))


def _supersede(rng: Random, service: Service, run: Run, at: float) -> None:
    """Have the run name another one, which may have taken its place, or not."""
    kind = rng.choice(("newer", "rerun", "older", "gone"))
    other = Run(service.new_id(), run.environment, at - 0.5, [(at - 0.5, "started")])
    if kind == "older":
        other.id, run.id = run.id, other.id
        other.created = run.created - 100.0
        other.life = [(other.created, "started"), (other.created + 50.0, "ended")]
    if kind == "rerun":
        other.created = at + 0.5
        other.rerun_of = run.id
    other.readable = kind != "gone"
    run.superseded = kind == "newer"
    run.superseded_by = other.id
    service.add(other)


def _sha(rng: Random) -> str:
    return "".join(rng.choice(_HEX) for _ in range(40))


def _expect_commit(rng: Random, run: Run, waiter: Waiter) -> None:
    """Have the wait expect the run's commit, or one that is close to it."""
    run.commit = sha = _sha(rng)
    other = sha[:12] + ("1" if sha[12] == "0" else "0") + sha[13:]
    draw = rng.random()
    if draw < 0.35:
        waiter.expected_commit = rng.choice((sha, sha[:7], sha[:12], sha.upper()))
    elif draw < 0.75:
        waiter.expected_commit = rng.choice((other, _sha(rng), _sha(rng)[:8]))
    elif draw < 0.85:
        run.commit = waiter.expected_commit = "v1.10.1"
    else:
        run.commit, waiter.expected_commit = "v1.10.10", "v1.10.1"
        if rng.random() < 0.5:
            run.commit, waiter.expected_commit = waiter.expected_commit, run.commit


def random_fault(rng: Random, begins: float, ends: float, run_id: int | None) -> Fault:
    """Make something go wrong between two moments: once, for a while, or all the time."""
    endpoint = rng.choice(("page", "page", "list"))
    kind = rng.choice(_KINDS) if rng.random() < 0.7 else rng.choice(_REFUSED)
    if endpoint == "page" and rng.random() < 0.05:
        kind = "other run"
    fault = Fault(endpoint, begins, _NEVER, kind)
    if endpoint == "page" and rng.random() < 0.6:
        fault.run_id = run_id
    if kind in ("429", "503"):
        fault.retry_after = rng.choice((None, "5", "120", "86400"))
    draw = rng.random()
    if draw < 0.35:
        fault.since = rng.uniform(begins - 1.0, ends)
        fault.left = rng.choice((1, 1, 2))
    elif draw < 0.75:
        fault.since = rng.uniform(begins - 1.0, ends)
        fault.until = min(fault.since + rng.uniform(5.0, 120.0), ends - 1.0)
    elif draw < 0.85:
        fault.since = rng.uniform(begins, ends)
    else:
        fault.since = begins - 1.0
    return fault
