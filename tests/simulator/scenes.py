"""Scenes: each is made from one number, played, and held against the oracle."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from tests.simulator.attempts import make_attempts
from tests.simulator.machine import ACTOR, Endless, Machine
from tests.simulator.oracle import (
    Rule,
    Violation,
    violations_of_attempts,
    violations_of_wait,
)
from tests.simulator.players import Attempt, Waiter
from tests.simulator.reading import violations_of_reading
from tests.simulator.service import Service
from tests.simulator.waits import make_waits
from tests.simulator.world import Dialect

__all__ = ["Scene", "play"]

_LONGEST_STORY = 60


@dataclass
class Scene:
    """A scene: who took part, and what was wrong."""

    seed: int
    service: Service
    kind: str = ""
    waiters: list[Waiter] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def story(self) -> str:
        """Tell what happened, for somebody who has only the number."""
        service, usual = self.service, Dialect()
        unusual = {
            each.name: getattr(service.dialect, each.name)
            for each in fields(Dialect)
            if getattr(service.dialect, each.name) != getattr(usual, each.name)
        }
        lines = [f"SCENE={self.seed} ({self.kind})", f"  the service: {unusual or 'as usual'}"]
        lines += [f"  fault: {fault}" for fault in service.faults]
        if service.machine.clock_steps or service.machine.skews:
            lines.append(f"  clocks: {service.machine.clock_steps} {service.machine.skews}")
        lines += [f"  wait: {_short(waiter)}" for waiter in self.waiters]
        lines += [f"  attempt: {_short(attempt)}" for attempt in self.attempts]
        concerned = {each.run_id for each in self.waiters}
        concerned |= {each.run.id for each in service.starts}
        lines += [
            f"  truth: run {run.id} in {run.environment} for {run.wish}: {run.life} {run.result} "
            f"{run.commit} {run.lie or ''} {run.lie_until}"
            for run in service.runs.values()
            if run.id in concerned
        ]
        log = [
            f"  {each.at:8.2f} {each.actor}: {each.endpoint} {each.run_id or ''} -> {each.what} "
            f"{each.told}"
            for each in service.served
        ]
        half = _LONGEST_STORY // 2
        lines += log if len(log) <= _LONGEST_STORY else [*log[:half], "  ...", *log[-half:]]
        lines += [f"  came out: {each.label} {each.heard}" for each in self.waiters]
        lines += [f"  came out: {each.label} {each.heard}" for each in self.attempts]
        lines += [f"  BROKEN {each.rule.name}: {each.how}" for each in self.violations]
        return "\n".join(lines)


def _short(player: Any) -> str:
    left_out = ("heard", "settings", "segments", "announced", "saves")
    told = {
        each.name: getattr(player, each.name)
        for each in fields(player)
        if each.name not in left_out and getattr(player, each.name) != each.default
    }
    return str(told)


def play(seed: int) -> Scene:
    """Play the scene of a number, and return it with what was wrong."""
    rng = Random(seed)  # noqa: S311  # nothing is to be kept secret
    machine = Machine()
    service = Service(machine, Dialect(), first_id=10_000 + 1_000 * seed)
    scene = Scene(seed, service)
    with machine.running(service.exchange, seed):
        draw = rng.random()
        if draw < 0.005:
            scene.kind = "reading"
            scene.violations += violations_of_reading(rng, service, seed)
        elif draw < 0.55:
            _play_waits(scene, rng)
        else:
            _play_attempts(scene, rng)
    for waiter in scene.waiters:
        scene.violations += violations_of_wait(waiter, service)
    scene.violations += violations_of_attempts(scene.attempts, service)
    return scene


def _play_waits(scene: Scene, rng: Random) -> None:
    scene.kind, scene.waiters = make_waits(rng, scene.service, scene.seed)
    machine = scene.service.machine
    if scene.waiters[0].mode in ("sync", "reschedule"):
        for waiter in scene.waiters:
            waiter.play(machine)
        return

    async def all_of_them() -> None:
        await asyncio.gather(*(waiter.aplay(machine) for waiter in scene.waiters))

    with suppress(Endless):
        machine.run(all_of_them())  # whoever has heard nothing by now never does


def _play_attempts(scene: Scene, rng: Random) -> None:
    scene.kind, scene.attempts, memories = make_attempts(rng, scene.service, scene.seed)
    service, machine = scene.service, scene.service.machine
    if scene.attempts[0].mode == "async":

        async def all_of_them() -> None:
            plays = zip(scene.attempts, memories, strict=True)
            await asyncio.gather(*(each.aplay(machine, memory, service) for each, memory in plays))

        try:
            machine.run(all_of_them())
        except Endless:
            scene.violations.append(Violation(Rule.ENDLESS, "the attempts have no end"))
            return
    else:
        for attempt, memory in zip(scene.attempts, memories, strict=True):
            machine.now += attempt.begins
            attempt.play(machine, memory)
    last = scene.attempts[-1].heard
    if last is not None and last.run_id in service.runs and rng.random() < 0.5:
        gate = Waiter(
            label="gate",
            run_id=last.run_id or 0,
            mode="sync",
            begins=machine.now,
            timeout=400.0,
            poll_interval=30.0,
            settings=scene.attempts[-1].settings,
        )
        gate.play(machine)
        scene.waiters.append(gate)
    ACTOR.set("")
    machine.now += 30.0
    service.catch_up()
