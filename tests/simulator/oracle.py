"""What must be true of every scene. The oracle knows the truth, and none of the package's rules.

A gate is open if the decision of its verdict is ``pass``. A scene can only demand what the API, as
far as it is known, allows a client to find out. Therefore the oracle does not blame the package in
these cases:

* Tests are missing, and the counts add up under one reading of them. Whether a total includes
  skipped tests, and the passed ones include flaky ones, is not documented. Scenes have so many
  missing tests that no reading hides them, and ``min_tests`` is not checked between two readings.
* No number reports a snoozed failure, because the service shows the total and the failures only.
* The commit is shown nowhere. Where it is shown and could not be read, the gate must be closed.
* Another process uses a shared key before the first run is listed. It has no reason to wait, and
  must give way later. A look-up after a lost response waits for the list for a minute.
* Nothing that is shown of a run tells what it was started for. Then "unknown" is right and a second
  run is not, but two tasks that start at the same moment cannot know of each other.
* The API key was rotated between two requests that differ in a secret: it cannot be compared.
* A replayed response names a run that nothing which is shown tells from a new one.
* The run's own page refuses, or contradicts itself, for a minute or at the deadline.
* The service asks to wait: that may postpone the end by ``start_timeout``, but no deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tests.simulator.machine import Endless
from tests.simulator.world import NOT_STARTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulator.players import Attempt, Waiter
    from tests.simulator.service import Served, Service, Start
    from tests.simulator.world import Dialect, Run

__all__ = ["Rule", "Violation", "violations_of_attempts", "violations_of_wait"]

_GRACE = 60.0
_CONNECT = 5.0
_REFUSALS = ("401", "403", "404", "302")


class Rule(Enum):
    """What is held against every scene."""

    OPENED_NOT_PASSED = "A gate opens only on tests that passed, all of them"
    OPENED_WRONG_COMMIT = "A gate opens only on the commit that was expected"
    PASSED_NAMES_FAILURE = "A verdict that opens the gate names no failed test"
    WRONG_VERDICT = "What became of the run is told as it was"
    NO_VERDICT = "A run that can be read at the deadline gets its verdict"
    GAVE_UP_EARLY = "A refusal of the run's page ends a wait after a minute of refusals only"
    NOT_STARTED = "A run that has left the queue in time is not said to be waiting there"
    LATE = "No wait ends later than one request after its deadline"
    SLOW_TO_END = "A page that contradicts itself, or refuses, for a minute ends the wait"
    ENDLESS = "Everything comes to an end"
    CRASHED = "What is raised is an error of the package"
    SECOND_RUN = "There is never a second run for a key beside one that counts"
    ADOPTED_WRONG = "No run is taken that was started for something else"
    CANCELLED_WRONG = "No run is cancelled but a duplicate of one that stays"
    CLEAN_TRIGGER_FAILED = "Where nothing goes wrong, a run is started or found"
    LOST_NOT_RECOVERED = "A lost response is recovered where the key can be read"
    LOOKUP_LATE = "A look-up is over after a minute"
    REJECTION_WITHOUT_RUN = "A rejection that names its run is told with it"
    LIST_INCOMPLETE = "Going through the runs leaves none of them out"


@dataclass
class Violation:
    """A rule that was broken, and how."""

    rule: Rule
    how: str


# Waits


def allowed_outcomes(run: Run, waiter: Waiter, dialect: Dialect) -> set[str]:
    """Return what a wait may say became of a run, by the truth."""
    at = float("inf")
    state, result = run.state(at), run.result
    if state == "error":
        return {"error"}
    if state == "cancelled":
        return {"superseded"} if run.superseded else {"cancelled"}
    if run.lie is not None and run.lie_until == at:
        return {"failed", "error", "incomplete", "no_tests", "wrong_commit", "timed_out"}
    outcomes = _outcomes_of_tests(run, waiter, dialect)
    if result.odd:
        outcomes = {"failed", "error", "incomplete", "no_tests", "timed_out"}
    if is_wrong_commit(run, waiter, dialect):
        outcomes = (outcomes - {"passed"}) | {"wrong_commit"}
    return outcomes


def _outcomes_of_tests(run: Run, waiter: Waiter, dialect: Dialect) -> set[str]:
    result, policy = run.result, waiter.policy
    failures = result.failed
    outcomes = set()
    if policy.get("count_snoozed_failures"):
        failures += result.snoozed
    if failures:
        return {"failed", "incomplete"} if result.missing else {"failed"}
    if policy.get("max_flaky") is not None and result.flaky > policy["max_flaky"]:
        outcomes.add("failed")
    least = policy.get("min_tests", 1)
    if result.ran < least:
        outcomes.add("no_tests")
    if result.missing:
        outcomes.add("incomplete")
    if not outcomes:
        outcomes.add("passed")
        if result.snoozed and dialect.counts == "oldest":
            outcomes.add("failed")
    elif outcomes == {"no_tests"}:
        twice = result.flaky if dialect.flaky_in_success else 0
        if result.ran + twice >= least:
            outcomes.add("passed")
    return outcomes


def is_wrong_commit(run: Run, waiter: Waiter, dialect: Dialect) -> bool:
    """Say whether another commit was tested than was expected, and the service shows it."""
    if waiter.expected_commit is None or run.commit is None:
        return False
    if not (dialect.page_commit or dialect.list_commit):
        return False
    return not same_commit(run.commit, waiter.expected_commit)


def same_commit(tested: str, expected: str) -> bool:
    """Say so by the truth of the scene: an abbreviation is written in hexadecimal digits."""
    tested, expected = tested.lower(), expected.lower()
    if set(tested + expected) <= set("0123456789abcdef"):
        return tested.startswith(expected) or expected.startswith(tested)
    return tested == expected


def violations_of_wait(waiter: Waiter, service: Service) -> Iterator[Violation]:
    """Yield what is wrong with how a wait came out."""
    heard, run = waiter.heard, service.runs[waiter.run_id]
    if heard is None or isinstance(heard.error, Endless):
        yield Violation(Rule.ENDLESS, f"{waiter.label} has no end")
        return
    pages = [
        each
        for each in service.served
        if each.endpoint == "page"
        and each.run_id == run.id
        and each.at >= waiter.segments[-1]
        and each.what != "sent"
        and each.ended <= heard.at
    ]
    if heard.error is not None:
        yield from _of_error(waiter, pages)
    else:
        yield from _of_verdict(waiter, run, service)
    yield from _of_the_deadline(waiter, run, service, pages)


def _of_error(waiter: Waiter, pages: list[Served]) -> Iterator[Violation]:
    heard = waiter.heard
    assert heard is not None
    if not heard.is_ours:
        yield Violation(Rule.CRASHED, f"{waiter.label}: {heard}")
        return
    if heard.at >= waiter.deadline:
        return
    refused: list[Served] = []
    for page in reversed(pages):
        if page.what not in _REFUSALS or (refused and page.what != refused[0].what):
            break
        refused.append(page)
    since = refused[-1].ended if refused else heard.at
    if waiter.mode == "reschedule" or heard.at - since < _GRACE - 1.0:
        yield Violation(
            Rule.GAVE_UP_EARLY,
            f"{waiter.label} gave up at {heard.at:.1f} s after {heard.at - since:.1f} s of "
            f"refusals of its page: {heard}",
        )


def _of_verdict(waiter: Waiter, run: Run, service: Service) -> Iterator[Violation]:
    heard, dialect = waiter.heard, service.dialect
    assert heard is not None
    allowed = allowed_outcomes(run, waiter, dialect)
    told = (
        f"{waiter.label}: {heard}; in truth {run.result}, {run.commit}, allowed {sorted(allowed)}"
    )
    opened = heard.decision == "pass"
    if heard.run_id != run.id:
        yield Violation(Rule.WRONG_VERDICT, f"{told}: of another run")
    if opened and is_wrong_commit(run, waiter, dialect):
        yield Violation(Rule.OPENED_WRONG_COMMIT, told)
    elif opened and ("passed" not in allowed or run.state(heard.at) != "ended"):
        yield Violation(Rule.OPENED_NOT_PASSED, told)
    elif heard.outcome == "timed_out":
        yield from _of_time_out(waiter, run)
    elif heard.outcome not in allowed:
        unread = heard.outcome == "cancelled" and any(
            each.what != "ok" and each.run_id == run.superseded_by for each in service.served
        )
        if waiter.expected_commit is not None and heard.at >= waiter.deadline:
            last = max(waiter.deadline, waiter.segments[-1])
            unread = unread or not _is_readable_at_the_end(waiter, run, service, last)
        pages = [p for p in service.served if p.endpoint == "page" and p.run_id == run.id]
        contradicts = bool(pages) and pages[-1].what == "lie" and heard.at >= waiter.deadline
        if not (unread or contradicts):
            yield Violation(Rule.WRONG_VERDICT, told)
    if opened and heard.failed_tests:
        yield Violation(Rule.PASSED_NAMES_FAILURE, f"{told}; names {heard.failed_tests}")


def _of_time_out(waiter: Waiter, run: Run) -> Iterator[Violation]:
    heard = waiter.heard
    assert heard is not None
    if heard.at >= waiter.deadline - 0.5:
        return
    limit = waiter.begins + (waiter.start_timeout or float("inf"))
    left = run.left_queue_at()
    if heard.at < limit - 0.5 or left < limit - 5.0:
        yield Violation(
            Rule.NOT_STARTED,
            f"{waiter.label} ended at {heard.at:.1f} s; the run left the queue at {left:.1f} s, "
            f"and had until {limit:.1f} s: {heard}",
        )


def request_timeout(settings: dict[str, object]) -> float:
    """Return the seconds that one request may take: to connect, and to read the response."""
    timeout = settings.get("timeout")
    return (float(timeout) if isinstance(timeout, (int, float)) else 15.0) + _CONNECT


def _of_the_deadline(
    waiter: Waiter, run: Run, service: Service, pages: list[Served]
) -> Iterator[Violation]:
    heard, one = waiter.heard, request_timeout(waiter.settings)
    assert heard is not None
    last = max(waiter.deadline, waiter.segments[-1])
    if waiter.mode == "reschedule":
        last = max(waiter.deadline + waiter.delay, waiter.segments[0])
    if heard.at > last + one + 1.0:
        yield Violation(
            Rule.LATE,
            f"{waiter.label} ended at {heard.at:.1f} s, {heard.at - last:.1f} s after its last "
            f"moment; a request may take {one:.0f} s",
        )
    yield from _of_the_start_limit(waiter, run, service, one)
    ended_unread = heard.error is not None or heard.outcome == "timed_out"
    if ended_unread and heard.at >= last and _is_readable_at_the_end(waiter, run, service, last):
        yield Violation(
            Rule.NO_VERDICT,
            f"{waiter.label} ended at {heard.at:.1f} s with {heard}; its page could be read",
        )
    yield from _of_the_grace(waiter, service, pages, one)


def _of_the_start_limit(
    waiter: Waiter, run: Run, service: Service, one: float
) -> Iterator[Violation]:
    heard = waiter.heard
    assert heard is not None
    if waiter.start_timeout is None or waiter.mode == "reschedule":
        return
    limit = max(waiter.begins + waiter.start_timeout, waiter.segments[-1])
    seen = limit + one - service.dialect.page_lag
    waits = run.state(limit + one) in NOT_STARTED and run.state(seen) in NOT_STARTED
    can_be_read = _is_free_of_faults(service, "page", run.id, limit - 1.0, limit + one)
    there = run.created + service.dialect.page_appears < limit - 1.0
    told_to_wait = any(fault.retry_after for fault in service.faults)
    can_be_read = can_be_read and there and not told_to_wait
    if waits and can_be_read and heard.at > limit + one + 1.0:
        yield Violation(
            Rule.LATE, f"{waiter.label} ended at {heard.at:.1f} s; its start limit was {limit:.1f}"
        )


def _is_readable_at_the_end(  # noqa: PLR0911  # one reason after the other
    waiter: Waiter, run: Run, service: Service, last: float
) -> bool:
    """Say whether a request at the last moment, and none before, is enough for the truth."""
    dialect, until = service.dialect, last + request_timeout(waiter.settings)
    seen = last - 0.5 - dialect.page_lag
    if run.terminal_at() > seen or run.lies(last - 0.5):
        return False
    if last - 0.5 < run.created + dialect.page_appears or not run.readable:
        return False
    if not _is_free_of_faults(service, "page", run.id, last - 0.5, until):
        return False
    if run.superseded_by and not _is_free_of_faults(
        service, "page", run.superseded_by, last - 0.5, until
    ):
        return False
    if waiter.expected_commit is None or dialect.page_commit:
        return True
    if run.state(last) != "ended":
        return True
    listed = run.created + dialect.list_lag < last - 0.5
    readable = not (dialect.list_commit and dialect.garbled_commit)
    return listed and readable and _is_free_of_faults(service, "list", None, last - 0.5, until)


def _is_free_of_faults(
    service: Service, endpoint: str, run_id: int | None, since: float, until: float
) -> bool:
    for fault in service.faults:
        same = fault.endpoint == endpoint and fault.run_id in (None, run_id)
        if same and fault.left is None and fault.since < until and since < fault.until:
            return False
    return not any(
        each.endpoint == endpoint
        and each.run_id == run_id
        and each.what not in ("ok", "sent")
        and each.at < until
        and since < each.ended
        for each in service.served
    )


def _of_the_grace(
    waiter: Waiter, service: Service, pages: list[Served], one: float
) -> Iterator[Violation]:
    """A page that says the same nonsense all the time ends a wait long before its deadline."""
    heard = waiter.heard
    assert heard is not None
    if waiter.mode == "reschedule" or not pages:
        return
    words = ("lie",) if pages[-1].what == "lie" else _REFUSALS[:3]
    same: list[Served] = []
    for page in reversed(pages):
        if page.what not in words or page.what != pages[-1].what:
            break
        same.append(page)
    if not same:
        return
    until = same[-1].ended + _GRACE + 2.3 * waiter.poll_interval + 2 * one + 5.0
    faults_elsewhere = any(fault.retry_after for fault in service.faults)
    if heard.at > until and not faults_elsewhere:
        yield Violation(
            Rule.SLOW_TO_END,
            f"{waiter.label} saw {words[0]} from {same[-1].ended:.1f} s on, and ended at "
            f"{heard.at:.1f} s",
        )


# Attempts to start a run


def violations_of_attempts(attempts: list[Attempt], service: Service) -> Iterator[Violation]:
    """Yield what is wrong with how attempts to start a run came out."""
    by_label = {each.label: each for each in attempts}
    for attempt in attempts:
        yield from _of_attempt(attempt, service)
    for start in service.starts:
        attempt = by_label[start.by]
        seen = [
            each for each in start.beside if not _is_out_of_sight(attempt, each, start, service)
        ]
        if seen and not _overlaps(attempt, attempts):
            yield Violation(
                Rule.SECOND_RUN,
                f"{start.by} started run {start.run.id} at {start.at:.1f} s beside {start.beside}",
            )
    for wish in {each.wish for each in attempts}:
        yield from _of_wish(wish, [each for each in attempts if each.wish == wish], service)
    for at, actor, run_id, beside in service.cancels:
        run, attempt = service.runs[run_id], by_label.get(actor)
        if attempt is None or run.wish != attempt.wish:
            what = f"{actor} cancelled run {run_id} at {at:.1f} s, which is for {run.wish}"
            yield Violation(Rule.CANCELLED_WRONG, what)
        elif not beside:
            what = f"{actor} cancelled run {run_id} at {at:.1f} s, the only one for {run.wish}"
            yield Violation(Rule.CANCELLED_WRONG, what)


def _is_out_of_sight(attempt: Attempt, run_id: int, start: Start, service: Service) -> bool:
    """Say whether one who shares a key could not know of a run: it was not listed yet."""
    shares = attempt.key is not None or bool((attempt.once or {}).get("shared"))
    return shares and service.runs[run_id].created + service.dialect.list_lag > start.at - 1.0


def _overlaps(attempt: Attempt, attempts: list[Attempt]) -> bool:
    """Say whether another attempt at the same was under way at the same time."""
    for other in attempts:
        if other is attempt or other.wish != attempt.wish:
            continue
        if other.began < attempt.ended and attempt.began < other.ended:
            return True
    return False


def _of_wish(wish: str, attempts: list[Attempt], service: Service) -> Iterator[Violation]:
    now = service.machine.now
    counting = [run for run in service.runs.values() if run.wish == wish and run.holds(now)]
    together = any(_overlaps(each, attempts) for each in attempts)
    may_know = all(key_is_shown(each, service.dialect) for each in attempts)
    if together and may_know and len(counting) > 1:
        ids = [run.id for run in counting]
        yield Violation(Rule.SECOND_RUN, f"runs {ids} for {wish} are all left")


def key_is_shown(attempt: Attempt, dialect: Dialect) -> bool:
    """Say whether what is shown of a run tells what it was started for."""
    if dialect.page_metadata or dialect.list_metadata:
        return True
    if attempt.in_overrides is False:
        return False
    return "full" in (dialect.page_overrides, dialect.list_overrides)


def _of_attempt(attempt: Attempt, service: Service) -> Iterator[Violation]:
    for run_id in {*attempt.announced, *([attempt.heard.run_id] if attempt.heard else [])}:
        if run_id is None:
            continue
        run = service.runs.get(run_id)
        if run is None or run.wish != attempt.wish:
            what = "nothing" if run is None else f"{run.wish or 'others'}, in {run.environment}"
            yield Violation(
                Rule.ADOPTED_WRONG,
                f"{attempt.label} took run {run_id}, which is for {what}, not for {attempt.wish}",
            )
    heard = attempt.heard
    if heard is None:
        return
    if isinstance(heard.error, Endless):
        yield Violation(Rule.ENDLESS, f"{attempt.label} has no end")
        return
    yield from _of_error_of_attempt(attempt, service)
    yield from _of_lookups(attempt, service)


def _of_error_of_attempt(attempt: Attempt, service: Service) -> Iterator[Violation]:
    heard = attempt.heard
    assert heard is not None
    asked = [each for each in service.served if each.actor == attempt.label]
    rejected = [each for each in asked if each.what.startswith("rejected ")]
    if rejected:
        run_id = int(rejected[-1].told.removeprefix("starts "))
        if heard.rejected_run != run_id:
            yield Violation(Rule.REJECTION_WITHOUT_RUN, f"{attempt.label}: {heard}")
        return
    if heard.error is None:
        return
    if not heard.is_ours:
        yield Violation(Rule.CRASHED, f"{attempt.label}: {heard}")
        return
    named = service.runs.get(heard.rejected_run or 0)
    if named is not None and named.wish == attempt.wish:
        return  # it was found, and is in error
    puts = [each.what for each in asked if each.endpoint == "start"]
    if not attempt.expects_run or any(
        each.what not in ("ok", "412") and each.told != "no page yet"
        for each in asked
        if each.endpoint != "start"
    ):
        return
    if set(puts) <= {"ok"} and attempt.is_first:
        yield Violation(Rule.CLEAN_TRIGGER_FAILED, f"{attempt.label}: {heard}")
    elif attempt.has_key and (attempt.is_certain or key_is_shown(attempt, service.dialect)):
        yield Violation(Rule.LOST_NOT_RECOVERED, f"{attempt.label} ({puts}): {heard}")


def _of_lookups(attempt: Attempt, service: Service) -> Iterator[Violation]:
    heard = attempt.heard
    assert heard is not None
    puts = [
        each
        for each in service.served
        if each.actor == attempt.label and each.endpoint == "start" and each.what != "sent"
    ]
    limit = _GRACE + 2 * request_timeout(attempt.settings) + 10.0
    nexts = [*(each.at for each in puts[1:]), heard.at]
    for put, following in zip(puts, nexts, strict=False):
        last = following == heard.at
        over = following - put.ended
        if (
            put.what not in ("ok", "refused", "429")
            and over > limit
            and not (last and heard.error is None)
        ):
            yield Violation(
                Rule.LOOKUP_LATE,
                f"{attempt.label} looked {over:.0f} s for what its request at {put.at:.1f} s "
                f"({put.what}) had started",
            )
