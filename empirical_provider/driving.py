"""The loops that play a generator of steps: what it asks for is done, and it hears what came of it.

So decisions stand once, in a generator without I/O, for the sync and the async clients alike.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from empirical_provider.exceptions import EmpiricalError

__all__ = ["adrive", "drive"]

S = TypeVar("S")
R = TypeVar("R")


def drive(steps: Generator[S, Any, R], act: Callable[[S], Any]) -> R:
    """Play the steps to their end, and return what they return.

    Args:
        steps: The generator. An `EmpiricalError` of a step is raised in it, where it asked.
        act: Does what a step asks for.
    """
    answer: Any = None
    error: EmpiricalError | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            result: R = end.value
            return result
        answer = error = None
        try:
            answer = act(step)
        except EmpiricalError as problem:
            error = problem


async def adrive(steps: Generator[S, Any, R], act: Callable[[S], Any]) -> R:
    """Do what `drive` does; ``act`` is awaited."""
    answer: Any = None
    error: EmpiricalError | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            result: R = end.value
            return result
        answer = error = None
        try:
            answer = await act(step)
        except EmpiricalError as problem:
            error = problem
