"""The look-up of a run, stopped between two of its steps."""

from __future__ import annotations

import pytest

from empirical_provider import TestRun, TestRunState
from empirical_provider.endpoints import RunList
from empirical_provider.searching import Clocks, LimitedCall, Pause, Search
from empirical_provider.trigger_key import Match

RUN = TestRun(id=7, state=TestRunState.QUEUED, environment="staging")


@pytest.mark.parametrize("stopped_for", [61.0, 90.0, 86_400.0])
@pytest.mark.parametrize("listed", [(), (RUN,)])
def test_a_process_that_was_stopped_looks_once_more(
    stopped_for: float, listed: tuple[TestRun, ...]
) -> None:
    """That no run is there is only said by a look that began when the time was up.

    The response to the first look came before the run was listed; then the process was stopped for
    longer than a run may stay unlisted.
    """
    now = 0.0

    def match(_run: TestRun, _in_list: bool) -> Match:
        return Match.OURS

    clocks = Clocks(wall=lambda: now, running=lambda: now, service=lambda: None)
    search = Search(match, since=clocks.here(), clocks=clocks, known=lambda run: run)
    steps = search.wait_for_any(60.0)
    assert isinstance(next(steps), LimitedCall)
    now = stopped_for
    assert steps.send(RunList(runs=(), more=False)) == Pause(0.0)
    assert isinstance(next(steps), LimitedCall)
    with pytest.raises(StopIteration) as end:
        steps.send(RunList(runs=listed, more=False))
    assert end.value.value == [*listed]
