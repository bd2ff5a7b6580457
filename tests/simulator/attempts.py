"""Makes attempts to start a run, and what goes wrong with them, from a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulator.oracle import key_is_shown
from tests.simulator.players import Attempt
from tests.simulator.service import Sends, Service
from tests.simulator.waits import random_fault, settings_for
from tests.simulator.world import Dialect, Result, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["make_attempts"]

_LOST = ("lost before", "lost", "times out", "zombie", "500", "503", "500 acted", "503 acted")
_ALSO = ("{} acted", "replay", "replay acted", "refused", "429")
_REJECTED = ("rejected 200", "rejected 400", "rejected 409", "rejected 422", "rejected 500")
_DAY = 86_400.0


def make_attempts(rng: Random, service: Service, seed: int) -> tuple[str, list[Attempt], list[Any]]:
    """Make a service, the attempts to start runs there, and where each keeps its memory."""
    service.dialect = _dialect(rng)
    service.machine.horizon = 30_000.0
    draw = rng.random()
    if draw < 0.03:
        return _many_requests(rng, service, seed)
    if draw < 0.12:
        return _two_gates(rng, service, seed)
    if draw < 0.3:
        return _together(rng, service, seed)
    return _one_after_the_other(rng, service, seed)


def _dialect(rng: Random) -> Dialect:
    """Return what a service may be like to those who start runs."""
    dialect = Dialect(
        page_overrides=rng.choice(("full", "full", "full", "masked", "none")),
        list_overrides=rng.choice(("full", "full", "masked", "none")),
        page_metadata=rng.random() < 0.25,
        list_metadata=rng.random() < 0.15,
        list_state=rng.random() < 0.85,
        page_environment=rng.random() < 0.7,
        order=rng.choice(("newest", "newest", "newest", "oldest", "mixed")),
        per_page=rng.choice((100, 100, 100, 3)),
        pagination=rng.random() < 0.9,
        id_filter=rng.random() < 0.7,
        filters=rng.random() < 0.7,
        date=rng.random() < 0.85,
        created_ahead=rng.choice((0.0, 0.0, -3.0, -20.0, -50.0, 20.0)),
        list_lag=rng.choice((0.0, 0.0, 1.0, 8.0, 8.0, 40.0)),
        page_appears=rng.choice((0.0, 0.0, 5.0)),
    )
    dialect.server_ahead = rng.choice((0.0, 0.0, -4000.0, 900.0, 4000.0))
    if not dialect.date:
        dialect.server_ahead = rng.choice((0.0, 600.0))
    return dialect


def _life(rng: Random, service: Service, *, rests: bool = False) -> Callable[[float], Run]:
    """Return what makes runs that go on for a random time, and end in a random way."""
    lasts = rng.choice((5.0, 60.0, 200.0, 5_000.0))
    last = rng.choice(("ended", "ended", "ended", "error", "cancelled"))
    if rests:
        lasts, last = 5_000.0, "ended"
    result = Result(passed=3, failed=rng.choice((0, 0, 1)))

    def make(now: float) -> Run:
        life = [(now, "queued"), (now + 0.3 * lasts, "started"), (now + lasts, last)]
        return Run(service.new_id(), "", now, life, result)

    return make


def _background(rng: Random, service: Service, since: float) -> None:
    """Add a run of somebody else."""
    created = -rng.uniform(0.0, since)
    ended = created + rng.choice((100.0, 10.0**6))
    life = [(created, "queued"), (created + 5.0, "started"), (ended, "ended")]
    run = Run(service.new_id(), rng.choice(("staging", "production")), created, life)
    run.result = Result(passed=3)
    run.metadata = {"deployed_by": "alice"}
    run.overrides = rng.choice(([], [{"name": "BUILD_URL", "value": "https://shop.example.com"}]))
    service.add(run)


def _request(rng: Random) -> dict[str, Any]:
    request: dict[str, Any] = {"environment": "staging"}
    if rng.random() < 0.5:
        request["environment_variables_overrides"] = {"TOKEN": f"{rng.randrange(10**6):06}"}
    if rng.random() < 0.3:
        request["build"] = {"commit": f"{rng.randrange(10**12):012}"}
    if rng.random() < 0.3:
        request["tags"] = ["@smoke", "@cart", "@checkout"]
    return request


# One after the other


def _one_after_the_other(  # noqa: C901  # one draw after the other
    rng: Random, service: Service, seed: int
) -> tuple[str, list[Attempt], list[Any]]:
    """An attempt, and further ones at the same; perhaps something similar was started before."""
    for _ in range(rng.choice((0, 1, 3, 6))):
        _background(rng, service, rng.choice((30.0, 3_000.0, 0.9 * _DAY, 3 * _DAY)))
    settings, request = settings_for(rng, seed), _request(rng)
    form = rng.choice(("none", "text", "text", "once", "once", "once", "shared"))
    key = f"release {rng.randrange(1000)}"
    in_overrides = rng.choice((True, True, None, None, False))
    attempts: list[Attempt] = []
    memories: list[Any] = []
    if form != "none" and rng.random() < 0.3:
        similar = _similar(rng, form, key, request, settings, in_overrides)
        similar.expects_run = form == "once" or key_is_shown(similar, service.dialect)
        _send(rng, service, similar, [])
        attempts.append(similar)
        memories.append({})
    memory: dict[str, Any] = {}
    number = 1 if form == "none" else rng.choice((1, 1, 2, 2, 3))
    store = rng.random() < 0.7
    before = attempts[0].wish if attempts else ""
    for place in range(number):
        attempt = Attempt(
            label=f"attempt {place}",
            wish="the run",
            request=_reordered(rng, request) if place else dict(request),
            settings=dict(settings),
            begins=rng.uniform(0.5, 90.0),
            in_overrides=in_overrides,
            is_first=place == 0,
            expects_run=before != "another request" and (before != "elsewhere" or form == "once"),
        )
        _give_key(attempt, form, key, retry=place > 0, store=store)
        if form in ("text", "shared") and not key_is_shown(attempt, service.dialect):
            attempt.expects_run = False
        if attempts and attempts[0].wish == "a generation before":
            attempt.once = (attempt.once or {}) | {"generation": 1}
        # Values of overrides cannot be compared under another API key: no promise holds there.
        if place and before != "another request" and rng.random() < 0.1:
            attempt.settings["api_key"] = f"{settings['api_key']}-rotated"
        sends = _send(rng, service, attempt, _puts(rng))
        if place < number - 1:
            _kill(rng, attempt, sends)
        if any(put.startswith("rejected") for put in sends.puts):
            number = place + 1
        attempts.append(attempt)
        memories.append(memory)
        if number == place + 1:
            break
    _turn_clocks(rng, service, attempts)
    for _ in attempts:
        if rng.random() < 0.15:
            begins = rng.uniform(0.0, 100.0)
            service.faults.append(random_fault(rng, begins, begins + 150.0, None))
            service.faults[-1].until = min(service.faults[-1].until, begins + 150.0)
    return f"attempts with a key: {form}", attempts, memories


def _give_key(attempt: Attempt, form: str, key: str, *, retry: bool, store: bool = True) -> None:
    if form == "text":
        attempt.key = key
    elif form in ("once", "shared"):
        attempt.once = {"key": key, "shared": form == "shared"}
        attempt.store = store
        if retry and not store:
            attempt.once["tried_since"] = "first"


def _similar(  # noqa: PLR0917  # each is drawn before
    rng: Random,
    form: str,
    key: str,
    request: dict[str, Any],
    settings: dict[str, Any],
    in_overrides: bool | None,
) -> Attempt:
    """Return an attempt at something else under the same key."""
    kind = rng.choice(("elsewhere", "another request"))
    if form == "once":
        kind = rng.choice(("elsewhere", "elsewhere", "another request", "a generation before"))
    other = dict(request)
    if kind == "elsewhere":
        other["environment"] = "production"
    elif kind == "another request":
        other["environment_variables_overrides"] = {"TOKEN": f"{rng.randrange(10**6):07}"}
    attempt = Attempt(
        label="similar",
        wish=kind,
        request=other,
        settings=dict(settings),
        begins=rng.uniform(0.0, 300.0),
        in_overrides=in_overrides,
        expects_run=True,
    )
    _give_key(attempt, form, key, retry=False)
    return attempt


def _reordered(rng: Random, request: dict[str, Any]) -> dict[str, Any]:
    request = dict(request)
    if "tags" in request:
        request["tags"] = rng.sample(request["tags"], len(request["tags"]))
    return request


def _puts(rng: Random) -> list[str]:
    draw = rng.random()
    if draw < 0.35:
        return []
    if draw < 0.43:
        return [rng.choice(_REJECTED)]
    puts = [rng.choice(_LOST if rng.random() < 0.65 else _ALSO)]
    if rng.random() < 0.2:
        puts.append(rng.choice(_LOST))
    return puts


def _send(rng: Random, service: Service, attempt: Attempt, puts: list[str]) -> Sends:
    """Say how the service takes the attempt's requests."""
    sends = Sends(attempt.wish, puts, _life(rng, service))
    sends.zombie = rng.choice((0.0, 5.0))
    if any("replay" in put for put in puts):
        keyed = attempt.has_key and attempt.in_overrides is not False
        sends.replay = _replayed(rng, service, keyed=keyed).id
    if attempt.has_key and rng.random() < 0.12:
        sends.copies.append(_copier(rng, service))
    service.sends[attempt.label] = sends
    return sends


def _replayed(rng: Random, service: Service, *, keyed: bool) -> Run:
    """Make a run that a response to somebody else has named."""
    dialect = service.dialect
    kinds = ["old and ended"]
    if dialect.date:
        kinds.append("old and live")
    if dialect.page_environment:
        kinds.append("elsewhere")
    if keyed and dialect.page_overrides == "full":
        kinds.append("for another")
    kind = rng.choice(kinds)
    created = 0.0 if kind in ("elsewhere", "for another") else -rng.uniform(1_000.0, 10.0**7)
    ends = created + 300.0 if kind == "old and ended" else 10.0**6
    life = [(created, "queued"), (created + 5.0, "started"), (ends, "ended")]
    where = "production" if kind == "elsewhere" else "staging"
    run = Run(service.new_id(), where, created, life, Result(passed=3))
    run.overrides = [{"name": "BUILD_URL", "value": "https://shop.example.com"}]
    return service.add(run)


def _copier(rng: Random, service: Service) -> Callable[[Run], Run]:
    elsewhere = rng.random() < 0.5

    def copy(run: Run) -> Run:
        other_place = "production" if run.environment == "staging" else "staging"
        where = other_place if elsewhere else run.environment
        other = Run(service.new_id(), where, run.created, list(run.life), run.result)
        other.metadata, other.overrides = dict(run.metadata), list(run.overrides)
        other.rerun_of = None if elsewhere else run.id
        return other

    return copy


def _kill(rng: Random, attempt: Attempt, sends: Sends) -> None:
    draw = rng.random()
    if draw < 0.25:
        sends.kill = "before"
    elif draw < 0.5:
        sends.kill = "after"
    elif draw < 0.6:
        attempt.kill_at_started = True
    elif draw < 0.75 and attempt.once is not None:
        attempt.kill_at_save = rng.choice((1, 2))


def _turn_clocks(rng: Random, service: Service, attempts: list[Attempt]) -> None:
    machine, dialect = service.machine, service.dialect
    if rng.random() < 0.3:
        base = rng.choice((0.0, -2_000.0, 2_000.0)) if dialect.date else 0.0
        for attempt in attempts:
            machine.skews[attempt.label] = base + rng.uniform(-25.0, 25.0)
    if rng.random() < 0.3:
        at = rng.choice((rng.uniform(0.0, 200.0), attempts[0].begins + rng.uniform(0.01, 3.0)))
        by = rng.choice((-10.0, -24.0, 24.0))
        if len(attempts) == 1:
            by = rng.choice((-10.0, -100.0, -4_000.0, 4_000.0)) if dialect.date else by
        machine.clock_steps.append((at, by))


# Two gates of one process, several at the same time, many requests under one key


def _two_gates(rng: Random, service: Service, seed: int) -> tuple[str, list[Attempt], list[Any]]:
    """Two gates in one environment and process, and no other run: all that is listed is known."""
    settings = settings_for(rng, seed)
    form = rng.choice(("text", "once"))
    attempts = []
    for place in range(2):
        attempt = Attempt(
            label=f"gate {place}",
            wish=f"gate {place}",
            request=_request(rng),
            settings=settings,
            begins=rng.uniform(0.5, 30.0),
            is_certain=True,
        )
        attempt.expects_run = form == "once" or key_is_shown(attempt, service.dialect)
        _give_key(attempt, form, f"gate {place} of {seed}", retry=False)
        attempts.append(attempt)
        puts = [rng.choice(("500", "503", "lost before"))] if place else []
        _send(rng, service, attempt, puts).copies.clear()
    return f"two gates: {form}", attempts, [{}, {}]


def _together(rng: Random, service: Service, seed: int) -> tuple[str, list[Attempt], list[Any]]:
    """Several tasks with one key that start at the same time."""
    if rng.random() < 0.8:
        service.dialect.list_lag = min(service.dialect.list_lag, 8.0)
    for _ in range(rng.choice((0, 1, 3))):
        _background(rng, service, rng.choice((30.0, 0.9 * _DAY)))
    settings, request = settings_for(rng, seed), _request(rng)
    form = rng.choice(("text", "shared"))
    attempts = []
    for place in range(rng.choice((2, 2, 3))):
        attempt = Attempt(
            label=f"task {place}",
            wish="the run",
            request=_reordered(rng, request),
            settings=dict(settings),
            begins=rng.choice((0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 20.0))),
            mode="async",
            in_overrides=rng.choice((True, None)),
        )
        attempt.expects_run = key_is_shown(attempt, service.dialect)
        _give_key(attempt, form, "release 7", retry=False)
        attempts.append(attempt)
        puts = [rng.choice(("lost", "503", "times out"))] if rng.random() < 0.15 else []
        sends = _send(rng, service, attempt, puts)
        sends.life = _life(rng, service, rests=True)
    return f"together: {form}", attempts, [{} for _ in attempts]


def _many_requests(
    rng: Random, service: Service, seed: int
) -> tuple[str, list[Attempt], list[Any]]:
    """Requests that differ in a secret only, under one key: each but the first is another."""
    service.dialect = Dialect()
    settings = settings_for(rng, seed)
    attempts = []
    for place in range(20):
        attempt = Attempt(
            label=f"request {place}",
            wish=f"request {place}",
            request={
                "environment": "staging",
                "environment_variables_overrides": {"PIN": f"{rng.randrange(10**6):06}"},
            },
            settings=settings,
            begins=1.0,
            key="release 7",
            in_overrides=True,
            expects_run=place == 0,
        )
        attempts.append(attempt)
        _send(rng, service, attempt, []).life = _life(rng, service, rests=True)
        service.sends[attempt.label].copies.clear()
    return "many requests", attempts, [{} for _ in attempts]
