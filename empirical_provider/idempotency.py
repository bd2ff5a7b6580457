"""Exactly one test run per key: what is done before, between and after the requests to start one.

Like the wait and the retry this is a rule without I/O: a generator of steps, which `trigger` makes
with either client. Whatever crashes, the next attempt runs through the same steps and comes out at
the same run. What can be said without the steps' state stands in modules of its own; the steps
themselves stay together, long as that is.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from empirical_provider import endpoints
from empirical_provider.counting import may_pass_by_its_failures
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import (
    EmpiricalError,
    TriggerOutcomeUnknownError,
    TriggerRejectedError,
)
from empirical_provider.logs import CallLog
from empirical_provider.models import TestRun, TestRunRequest, TestRunState
from empirical_provider.policy import GatePolicy, Outcome
from empirical_provider.rerunning import (
    best_rerun,
    last_rerun_of,
    listed_before,
    search_for_reruns,
    settled_rerun,
)
from empirical_provider.rivals import (
    at_rest,
    cancel_others,
    seen_beside,
    winner_of,
    with_states,
)
from empirical_provider.searching import Clocks, Moment, Search, UntoldError
from empirical_provider.sending import send_until_sure
from empirical_provider.started_runs import Service
from empirical_provider.trigger_key import Match, TriggerKey
from empirical_provider.trigger_once import Save, Started, Step, TriggerOnce
from empirical_provider.trigger_trouble import key_taken, outcome_unknown
from empirical_provider.verdict import judge

__all__ = ["start_once"]

log = CallLog.of(__name__)

_SHARED_SINCE = 86_400.0
"""Seconds that somebody else's run under a shared key is looked for in the past."""


def start_once(
    request: TestRunRequest, once: TriggerOnce, clocks: Clocks, service: Service
) -> Generator[Step, Any, TestRun]:
    """Return the steps to the one run that is wanted, which they return.

    The driver makes each step and sends back what it came to, or throws in the `EmpiricalError`
    that it ended with.

    Raises:
        InvalidRequestError: The key was used for another request, or is none.
        TriggerRejectedError: The service said that it did not start the run.
        TriggerOutcomeUnknownError: Nobody can tell whether a run was started.
        EmpiricalError: Any other error: nothing was started.
    """
    return _Starting(request, once, clocks, service).steps()


class _Starting:
    """The steps, and what they have come to so far."""

    def __init__(
        self, request: TestRunRequest, once: TriggerOnce, clocks: Clocks, service: Service
    ) -> None:
        self._request = request
        self._once = once
        self._clocks = clocks
        self._service = service
        self._key = TriggerKey.of(
            once.key, request, api_key=service.api_key, generation=once.generation
        )
        self._record: dict[str, Any] | None = None
        self._before: dict[str, Any] | None = None
        self._newest = 0  # id of a run; what we are about to re-run gets a higher one
        self._listed: set[int] = set()  # ids of runs that there were before we started one
        self._of_other_keys: set[int] = set()  # ids of runs that show another key

    def steps(self) -> Generator[Step, Any, TestRun]:
        run, n = yield from self._earlier()
        if run is None or run.state.is_without_verdict:
            return (yield from self._start(n if run is None else n + 1))
        log.info("Test run %s was started for this before; it is %s.", run.id, run.state)
        if self._is_red(run):
            return (yield from self._rerun(run, n))
        yield from self._is_the_one(run, n)
        return run

    # What earlier attempts have left

    def _earlier(self) -> Generator[Step, Any, tuple[TestRun | None, int]]:
        """Return the run of an earlier attempt and its n; None, and the n to start with."""
        saved = self._saved()
        if saved is None:
            run = yield from self._red_before()
            return (run, 0) if run is not None else (yield from self._looked_up(None, 0))
        key, saved_since, run_id = saved
        self._record = dict(self._once.saved or {})
        self._refuse_another_request(key, run_id)
        if run_id is None:
            return (yield from self._looked_up(saved_since, key.n))
        if self._once.shared:  # of several, our own may not be the one
            run, n = yield from self._looked_up(saved_since, key.n)
            if run is not None:
                return run, n
        run = yield from at_rest(run_id, self._once.grace)
        while run and run.state.is_without_verdict and run.rerun_source_id:
            self._newest = max(self._newest, run.id)
            run = yield from at_rest(run.rerun_source_id, self._once.grace)  # it is still red
        return run, key.n + (run is None)

    def _saved(self) -> tuple[TriggerKey, float, int | None] | None:
        """Read what an earlier attempt has saved, unless it was for something else."""
        match self._once.saved:
            case {"key": str() as text, "since": float() | int() as since, **more}:
                key, run_id = TriggerKey.parse(text), more.get("run_id")
                if key is not None and self._key.is_for_the_same(key):
                    return key, float(since), run_id if isinstance(run_id, int) else None
        return None

    def _looked_up(
        self, saved_since: float | None, n: int
    ) -> Generator[Step, Any, tuple[TestRun | None, int]]:
        """Look the run up by its key, if an earlier attempt or somebody else may have one."""
        since = self._may_be_since(saved_since)
        if since is None:
            return None, n
        search = self._search(self._clocks.elsewhere(since))
        try:
            found = yield from search.wait_for_any(self._grace())
        except UntoldError as why:
            if (self._record or {}).get("run_id") is None:
                raise self._unknown(why) from why
            found = []
        self._listed |= search.listed
        if not found:
            return None, n
        run, found_n = yield from self._winner(found)
        return run, found_n + (run is None)

    def _may_be_since(self, saved: float | None) -> float | None:
        """Return the moment from which on somebody may have started what we want; None: nobody."""
        since = self._once.tried_since if saved is None else saved
        if not self._once.shared:
            return since
        now = self._clocks.wall()
        return min(now - _SHARED_SINCE, now if since is None else since)

    def _grace(self) -> float:
        """Return the seconds in which a run of an earlier attempt may still come up."""
        once, now, record = self._once, self._clocks.wall(), self._record
        told = record is None or (record.get("run_id") and not record.get("rerun_since"))
        if once.tried_since is None and told:
            return 0.0
        return max(0.0, (now if once.tried_until is None else once.tried_until) + once.grace - now)

    # A run of our own

    def _start(self, n: int, *, again: bool = True) -> Generator[Step, Any, TestRun]:
        """Start the n-th run, or find that it was started when no answer came."""
        key = self._key.at(n)
        keyed = key.put_into(self._request, environment=self._once.key_in_environment)
        yield from self._save(key, self._clocks.wall(), None)
        began = self._clocks.here()
        search = self._search(began, at_least=n)
        run, found = yield from self._send(endpoints.trigger(keyed), search, str(key))
        if run is None:
            winner, n = yield from self._winner(found)
            run = winner or found[0]
            if self._once.shared and run.state.is_without_verdict and again:
                return (yield from self._start(n + 1, again=False))  # it may be somebody else's
            if run.state == TestRunState.ERROR:
                raise TriggerRejectedError(
                    f"Test run {run.id} was started, but is in state error. {run.url or ''}",
                    run_id=run.id,
                    run_url=run.url,
                )
        yield from self._is_the_one(run, n)
        return (yield from self._settled(run, n, began)) if self._once.shared else run

    def _send(
        self, call: Call[TestRun], search: Search, key: str | None = None
    ) -> Generator[Step, Any, tuple[TestRun | None, list[TestRun]]]:
        before = self._before
        try:
            run, found = yield from send_until_sure(
                call,
                search,
                doubt=self._doubt,
                grace=self._once.grace,
                shared=self._once.shared,
                unknown=self._unknown,
            )
        except TriggerOutcomeUnknownError:
            raise
        except EmpiricalError:  # nothing was started
            self._record = before
            yield Save(before)
            raise
        if run is not None:
            self._service.note(run, key)
        return run, found

    def _doubt(self, run: TestRun) -> str | None:
        """Say why a run cannot be the one that a request has started just now, if it cannot."""
        if run.id in self._listed:
            return "was listed before the request was sent"
        return self._service.why_not_new(run)

    def _settled(self, own: TestRun, n: int, began: Moment) -> Generator[Step, Any, TestRun]:
        """Agree with others that have started a run under the same key at the same time."""
        search = self._search(began)
        ours, *others = yield from seen_beside(own, search, self._once.grace)
        if own.id in self._of_other_keys:
            yield from self._save(self._key.at(n), self._clocks.wall(), None)
            raise self._unknown(
                UntoldError(f"the response named test run {own.id}, of another key")
            )
        ours = replace(ours, trigger_key=str(self._key.at(n)))  # an answer does not show it
        winner, winners_n = yield from self._winner([*others, ours], own=own.id)
        if winner is None or winner.id == own.id:
            return own
        yield from self._is_the_one(winner, winners_n)
        return winner

    # After red tests

    def _is_red(self, run: TestRun) -> bool:
        if self._once.after_red == "fail" or run.state != TestRunState.ENDED:
            return False
        return judge(run, GatePolicy.of(self._once.policy)).outcome == Outcome.FAILED

    def _red_before(self) -> Generator[Step, Any, TestRun | None]:
        """Return the red run of the generation before, as far as it was saved."""
        saved = self._once.saved or {}
        key, run_id = TriggerKey.parse(saved.get("key")), saved.get("run_id")
        same = key is not None and key.identity == self._key.identity
        if not (same and isinstance(run_id, int)) or self._once.after_red == "fail":
            return None
        run = yield from at_rest(run_id, self._once.grace)
        if run is None or not self._is_red(run):
            return None
        self._record = {**saved, "rerun_since": None}  # that one was before
        return run

    def _rerun(self, run: TestRun, n: int) -> Generator[Step, Any, TestRun]:
        """Re-run a red run, unless an earlier attempt or somebody else has."""
        once = self._once
        record = self._record or {}
        since = self._may_be_since(record.get("rerun_since"))
        if since is not None:
            searches: list[Search] = []
            moment = self._clocks.elsewhere(since)

            def search(source: TestRun) -> Search:
                # What was noted before the re-run of a run is about the re-runs of that one.
                noted = "rerun_after" in record and source.id == record.get("run_id")
                after = record["rerun_after"] if noted else 0
                searches.append(self._search_for_reruns(source, moment, after))
                return searches[-1]

            run = yield from last_rerun_of(
                run,
                search,
                grace=self._grace(),
                rest=once.grace,
                is_red=self._is_red,
                unknown=self._unknown,
            )
            self._newest = max([self._newest, *(each.newest for each in searches)])
        if self._is_red(run):
            run = yield from self._start_rerun(run, n)
        yield from self._is_the_one(run, n)
        return run

    def _start_rerun(self, source: TestRun, n: int) -> Generator[Step, Any, TestRun]:
        there = yield from listed_before()
        after = None if there is None else max(self._newest, *there, 0)
        self._listed |= there or set()
        now, began = self._clocks.wall(), self._clocks.here()
        more = {"rerun_since": now, "rerun_after": after}
        yield from self._save(self._key.at(n), now, source.id, **more)
        only_failed = self._once.after_red == "rerun_failed" and may_pass_by_its_failures(
            source, GatePolicy.of(self._once.policy)
        )
        which = "what failed" if only_failed else "all of it"
        log.info("Test run %s is red: %s is run again.", source.id, which)
        call = endpoints.rerun_test_run(source.id, only_failed=only_failed)
        search = self._search_for_reruns(source, began, after)
        run, found = yield from self._send(call, search)
        run = run or best_rerun(found)
        if not self._once.shared:
            return run
        return (yield from settled_rerun(run, search, self._once.grace))

    # What all of them need

    def _search(self, since: Moment, *, at_least: int = 0) -> Search:
        """Return the search for runs under our key from the n on."""
        key, once = self._key.at(at_least), self._once
        # A run shows it where the attempt that has started it has put it.
        variable = once.key_in_environment and (self._record or {}).get("in_environment", True)

        def match(run: TestRun, in_list: bool) -> Match:
            shown = TriggerKey.parse(run.trigger_key)
            if shown is not None and not key.is_for_the_same(shown):
                self._of_other_keys.add(run.id)
            if run.trigger_key is None and self._service.key_of(run) is not None:
                return Match.OTHER  # this process has started it, without a key
            elsewhere = shown is not None and "environment" in key.differences(shown)
            if elsewhere and not once.shared:
                return Match.OTHER  # of another deployment that makes the same keys
            told = key.match(run, environment=variable, in_list=in_list)
            return told if told is Match.OTHER else key.checked(told, run, self._request)

        known = self._service.with_key
        return Search(match, since=since, clocks=self._clocks, known=known)

    def _search_for_reruns(self, source: TestRun, since: Moment, after: int | None) -> Search:
        known = self._service.with_key
        return search_for_reruns(source, since, self._clocks, known, after=after)

    def _winner(
        self, found: list[TestRun], *, own: int | None = None
    ) -> Generator[Step, Any, tuple[TestRun | None, int]]:
        """Return the one run of several under our key, None if it is gone, and its n."""
        winner, key, rivals = winner_of((yield from with_states(found)))
        gives_way = any(run.id == own for run in rivals) or bool(self._key.differences(key))
        too_many = [
            run for run in rivals if run.id == own or not (gives_way or self._is_taken(run))
        ]
        yield from cancel_others(too_many, winner.id, started_here=own)
        self._refuse_another_request(key, winner.id)
        try:
            return (yield from at_rest(winner.id, self._once.grace)), key.n
        except EmpiricalError as error:  # it exists, whatever the trouble is
            log.warning("%s Going on with what is known of it.", error)
            return winner, key.n

    def _is_taken(self, run: TestRun) -> bool:
        """Whether a run under our key is for another request."""
        key = TriggerKey.parse(run.trigger_key)
        return key is None or bool(self._key.differences(key))

    def _is_the_one(self, run: TestRun, n: int) -> Generator[Step, Any, None]:
        yield Started(run)
        yield from self._save(self._key.at(n), self._clocks.wall(), run.id)

    def _save(
        self, key: TriggerKey, since: float, run_id: int | None, **more: float | None
    ) -> Generator[Step, Any, None]:
        self._before = self._record
        told = {"key": str(key), "since": since, "run_id": run_id}
        self._record = {**told, "in_environment": self._once.key_in_environment, **more}
        yield Save(self._record)

    def _refuse_another_request(self, key: TriggerKey, run_id: int | None) -> None:
        if different := self._key.differences(key):
            raise key_taken(self._once, different, run_id)

    def _unknown(self, why: UntoldError) -> TriggerOutcomeUnknownError:
        dashboard_url = self._service.dashboard_url
        return outcome_unknown(self._once, self._request, self._key, why, dashboard_url)
