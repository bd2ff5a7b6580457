"""Which test runs have ended since one last looked, each told once: what events are made of.

A look reads the list of runs, newest first, as far back as the cursor asks, and then each run that
has ended, so that its verdict goes by the same answer as that of a wait. A cursor says what was
told; it is small plain data, and each watcher keeps its own. One look can serve many watchers.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Any

from empirical_provider import checks, endpoints
from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.driving import adrive, drive
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import (
    AuthenticationError,
    EmpiricalError,
    NotFoundError,
    NotSentError,
    RateLimitedError,
    UnreadableAnswerError,
)
from empirical_provider.expected_commit import steps_to_complete
from empirical_provider.models import TestRun

__all__ = ["Cursor", "Look", "alook_for_ended_runs", "look_for_ended_runs"]

log = logging.getLogger(__name__)

_OVERLAP = timedelta(minutes=5)
"""How much later than a newer one a run may appear in the list, and still be seen. A guess: the
documentation tells neither how the list is ordered nor when a run is in it."""

_ENOUGH = 3
"""Runs in a row that cannot be read which end a look: the service is in trouble."""

_MOST_PAGES = 1000
"""Pages of 100 runs that are read in one look; a list with more since the last one has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look has shown.

    Args:
        listed: The runs of the list, by id, as far as it was read.
        since: All that the list holds above this id are in ``listed``.
        ended: Those that have ended, by id, each with its tests.
        gone: Ids of those that the service does not know any more.
        begins: Whether one can begin with it, having been told nothing yet.
    """

    listed: Mapping[int, TestRun]
    since: int
    ended: Mapping[int, TestRun]
    gone: frozenset[int] = frozenset()
    begins: bool = False

    def serves(self, cursor: Cursor | None) -> bool:
        """Say whether it shows all that a watcher with this cursor has to be told.

        One that was taken for others may not: then their runs are all that it shows, and who went
        by it would jump over the rest, or take what is past for new.
        """
        return self.begins if cursor is None else self.since <= cursor.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """What a watcher has been told of.

    Args:
        floor: All runs up to this id are done with, but for ``open``.
        told: Ids above it that are done with.
        open: Ids of runs that have not ended yet.
    """

    floor: int
    told: frozenset[int] = field(default=frozenset())
    open: frozenset[int] = field(default=frozenset())

    @classmethod
    def start(cls, look: Look) -> Cursor:
        """Return the cursor of who begins with a look: what has ended by then is past."""
        ended = {run_id for run_id, run in look.listed.items() if run.state.is_terminal}
        begin = cls(floor=look.since, told=frozenset(ended))
        return begin.after(look)

    @classmethod
    def of(cls, data: Any) -> Cursor:
        """Read what `as_dict` has written, in this version of the package or another.

        Unknown keys are ignored; ``told`` and ``open`` may be missing.

        Raises:
            InvalidRequestError: It is something else.
        """
        given = data if isinstance(data, Mapping) else checks.as_mapping("cursor", data)
        ids = {}
        for name in ("told", "open"):
            each = given.get(name)
            values = each if isinstance(each, list) else [] if each is None else [each]
            ids[name] = frozenset(
                checks.whole_number(f"cursor.{name}", value, at_least=1) for value in values
            )
        floor = checks.whole_number("cursor.floor", given.get("floor"), at_least=0)
        return cls(floor=floor, **ids)

    def as_dict(self) -> dict[str, Any]:
        """Return the cursor as plain data."""
        return {"floor": self.floor, "told": sorted(self.told), "open": sorted(self.open)}

    def wants(self, run_id: int) -> bool:
        """Say whether the end of a run is still to be told."""
        return run_id in self.open or (run_id > self.floor and run_id not in self.told)

    def news(self, look: Look) -> list[TestRun]:
        """Return the runs whose ends a look has to tell, the lowest id first."""
        return [run for run_id, run in sorted(look.ended.items()) if self.wants(run_id)]

    def after(self, look: Look) -> Cursor:
        """Return the cursor of who has been told all of a look's news."""
        done = look.ended.keys() | look.gone
        seen = self.open | look.listed.keys() | look.ended.keys()
        told = self.told | {run_id for run_id in done if self.wants(run_id)}
        still_open = {run_id for run_id in seen - told if self.wants(run_id)}
        floor = max(self.floor, _settled(look.listed.values()))
        return Cursor(
            floor=floor,
            told=frozenset(run_id for run_id in told if run_id > floor),
            open=frozenset(still_open),
        )


def look_for_ended_runs(client: EmpiricalClient, cursors: Iterable[Cursor | None]) -> Look:
    """Look for runs that have ended.

    Args:
        client: An open client.
        cursors: What each watcher has been told of; None: nothing yet, see `Cursor.start`.

    Raises:
        AuthenticationError: The key is not accepted.
        EmpiricalError: The list could not be read, or the service is away. A run that alone cannot
            be read is left for the next look.
    """
    send = partial(client._send, retry_for=0)  # noqa: SLF001  # of the same package
    return _with_urls(client, drive(_steps(tuple(cursors)), send))


async def alook_for_ended_runs(
    client: AsyncEmpiricalClient, cursors: Iterable[Cursor | None]
) -> Look:
    """Do what `look_for_ended_runs` does, with an async client."""
    send = partial(client._send, retry_for=0)  # noqa: SLF001  # of the same package
    return _with_urls(client, await adrive(_steps(tuple(cursors)), send))


def _with_urls(client: EmpiricalClient | AsyncEmpiricalClient, look: Look) -> Look:
    ended = {run_id: client.with_url(run) for run_id, run in look.ended.items()}
    return replace(look, ended=ended)


def _steps(cursors: Sequence[Cursor | None]) -> Generator[Call[Any], Any, Look]:
    known = [each for each in cursors if each is not None]
    is_first = len(known) < len(cursors)
    listed, since = yield from _read_list(known, is_first)
    to_read = [
        run_id
        for run_id in {*listed, *_open(known)}
        if _is_worth_reading(run_id, listed.get(run_id), known, is_first)
    ]
    read, gone = yield from _read_alone(to_read, listed, all_or_none=not known)
    stateless = {run_id for run_id, run in listed.items() if not run.state.is_known}
    return Look(
        listed=listed,
        since=since,
        ended={run_id: run for run_id, run in read.items() if run.state.is_terminal},
        gone=gone,
        begins=is_first and stateless <= read.keys(),  # nothing looks new later that is past now
    )


def _read_alone(
    run_ids: list[int], listed: Mapping[int, TestRun], *, all_or_none: bool
) -> Generator[Call[Any], Any, tuple[dict[int, TestRun], frozenset[int]]]:
    """Read runs as long as the service is well, and say which of them are gone.

    In no order: where some fail each time, those that come after them are kept back in one look,
    but not in all.
    """
    random.shuffle(run_ids)
    read: dict[int, TestRun] = {}
    gone: set[int] = set()
    failures = 0
    for run_id in run_ids:
        run = listed.get(run_id)
        try:
            found: TestRun = yield endpoints.get_test_run(run_id)
            found = yield from steps_to_complete(found, None)
        except (AuthenticationError, NotSentError, RateLimitedError):
            raise
        except EmpiricalError as error:
            if isinstance(error, NotFoundError) and run is None:  # nor does the list show it
                gone.add(run_id)
                continue
            if all_or_none:  # nobody could go by the rest
                raise
            log.warning("%s It is looked at again.", error)
            failures = failures + 1 if error.may_pass else 0  # else it tells of this run alone
            if failures >= _ENOUGH:
                break
        else:
            failures = 0
            read[run_id] = _filled(found, run)
    return read, frozenset(gone)


def _is_worth_reading(
    run_id: int, run: TestRun | None, known: Sequence[Cursor], is_first: bool
) -> bool:
    """Say whether a run may have ended, by the list, and somebody does not know it yet."""
    if run is not None and run.state.is_known:
        if not run.state.is_terminal:
            return False
    elif run is not None and is_first:
        return True
    return any(each.wants(run_id) for each in known)


def _filled(run: TestRun, listed: TestRun | None) -> TestRun:
    """Add what only the list is known to tell."""
    if listed is None:
        return run
    return replace(
        run,
        environment=run.environment or listed.environment,
        branch=run.branch or listed.branch,
        commit=run.commit or listed.commit,
    )


def _read_list(
    known: Sequence[Cursor], is_first: bool
) -> Generator[Call[Any], Any, tuple[dict[int, TestRun], int]]:
    """Read the list as far back as the cursors ask, or one page; and say since when that is."""
    floor = min((each.floor for each in known), default=None)
    since = 0 if floor is None or is_first else floor
    wanted = _Wanted(since, _open(known))
    listed: dict[int, TestRun] = {}
    for number in range(1, _MOST_PAGES + 1):
        page: endpoints.Sighting = yield endpoints.look_at_runs(number, wanted)
        listed.update(page.runs)
        if not page.more or not page.oldest:
            return listed, since
        if floor is None or page.oldest <= floor:
            return listed, max(since, page.oldest - 1)
    raise UnreadableAnswerError(f"The list of test runs has no end in {_MOST_PAGES} pages.")


def _open(known: Sequence[Cursor]) -> frozenset[int]:
    return frozenset(chain.from_iterable(each.open for each in known))


class _Wanted(Container[int]):
    """The runs above a floor, and some below it."""

    def __init__(self, floor: int, others: frozenset[int]) -> None:
        self._floor = floor
        self._others = others

    def __contains__(self, run_id: object) -> bool:
        return isinstance(run_id, int) and (run_id > self._floor or run_id in self._others)


def _settled(runs: Iterable[TestRun]) -> int:
    """Return the id up to which no run can be new in the list; 0: that cannot be told.

    It goes by the service's own times, so that no clock of ours matters.
    """
    times = {run.id: moment for run in runs if (moment := run.created) is not None}
    if not times:
        return 0
    newest = max(times.values())  # taking the overlap from it could leave the calendar
    old = (run_id for run_id, moment in times.items() if newest - moment > _OVERLAP)
    return max(old, default=0)
