"""The branch: promote or roll back, by the verdict on a run that has finished."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow import xcom
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.literals import check_literal_commit
from empirical_provider.airflow.rendered import as_field, as_run_id, given_fields, refuse_nothing
from empirical_provider.airflow.versions import (
    AirflowException,
    AirflowSkipException,
    BaseBranchOperator,
    BaseOperatorLink,
    final,
    skip_in_mapped_task_group,
    states_of,
)
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import Decision, GatePolicy

if TYPE_CHECKING:
    from empirical_provider.airflow.versions import XComArg

__all__ = ["EmpiricalBranchOperator"]

log = logging.getLogger(__name__)

Before = Sequence[tuple[str, int, str | None]]
"""The task instances directly before this one: id, map index and state."""

_STARTED = {"success", "failed", "running", "deferred", "up_for_retry", "up_for_reschedule"}
"""States of a task that has begun this time; one that has not keeps the XComs of an earlier one."""

_SAY_WHICH = "Give this task an expect_commit: a commit, or False for any."


class EmpiricalBranchOperator(BaseBranchOperator):
    """Go on with one set of tasks if the tests of a run passed, and with another if not.

    It reads the run and judges it anew under its own policy, so it does not matter how the gate
    before it ended; behind a gate that may be red, give it ``trigger_rule="all_done"``. Directly
    following tasks that are not chosen are skipped. Returns the ids that were chosen. XComs:
    ``verdict`` and ``test_run_url``.

    In a mapped task group each index goes its own way. What follows directly has to be in the same
    group then: outside of it there is one task for all indexes, and no verdict to go by.

    Args:
        test_run_id: Database id of the run, a number or a text of digits; templated. Default: the
            run of the one task directly before this one that has pushed ``test_run_id``; in a
            mapped task group that of its own index. A task that did not run this time (after a
            clear, say) does not count, whatever it has left.
        follow_if_passed: Id of a task or task group (or several) for a verdict that passes;
            default: none, so that all are skipped; templated.
        follow_if_failed: The same for a verdict that fails; templated.
        expect_commit: The commit that must have been tested; default True: the one that a task
            directly before this one has expected of this run. False: any. Templated.
        policy: What the verdict goes by: a `GatePolicy`, or a mapping of its fields; by default
            only passed tests pass. An outcome that it skips skips this task.
        empirical_conn_id: Id of the connection; default ``empirical_default``; templated.

    Raises:
        AirflowFailException: There is no such run, or the key is refused, or test_run_id is none,
            or the branch is mapped and is followed by a task outside of its mapped task group.
        AirflowException: The run has not finished; a retry looks again.
        AirflowSkipException: The policy skips the task.
        EmpiricalError: An error that may pass.
    """

    template_fields: Sequence[str] = (
        "test_run_id",
        "follow_if_passed",
        "follow_if_failed",
        "empirical_conn_id",
        "expect_commit",
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (EmpiricalTestRunLink(),)
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        test_run_id: int | str | XComArg | None = None,
        follow_if_passed: str | Iterable[str] | XComArg | None = None,
        follow_if_failed: str | Iterable[str] | XComArg | None = None,
        expect_commit: str | XComArg | bool | None = True,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        empirical_conn_id: str = "empirical_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.test_run_id = test_run_id
        self.follow_if_passed = follow_if_passed
        self.follow_if_failed = follow_if_failed
        self.expect_commit = expect_commit
        check_literal_commit(expect_commit)
        self.policy = GatePolicy.of(policy)
        self.empirical_conn_id = empirical_conn_id
        self._given = given_fields(self)

    def choose_branch(self, context: Any) -> list[str]:
        """Read the run, judge it, and return the ids of the tasks to go on with."""
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.expected_commit import find_commit
        from empirical_provider.verdict import judge

        ti = context["ti"]
        with final():
            refuse_nothing(self, self._given)
            self._refuse_followers_of_all_indexes(ti)
            asks = self.test_run_id is None or self.expect_commit is True
            before = list(self._before(ti)) if asks else []  # Airflow is asked for each task
            run_id = self._chosen_run(ti, before)
            expected = self._expected_commit(ti, run_id, before)
            with EmpiricalHook(self.empirical_conn_id).get_conn() as client:
                run = find_commit(client, client.get_test_run(run_id), expected, retry_for=None)
        page = f" ({run.url})" if run.url else ""
        if not run.state.is_terminal:
            raise AirflowException(
                f"Empirical test run {run_id}{page} is {run.state}: there is no verdict to go by "
                "yet. Wait for it first, for example with EmpiricalTestRunSensor."
            )
        verdict = judge(run, self.policy, expect_commit=expected)
        log.info("%s", verdict.summary)
        xcom.push_verdict(ti, verdict)
        if verdict.decision == Decision.SKIP:
            raise AirflowSkipException(verdict.summary)
        followed: Any = self.follow_if_failed if verdict.is_closed else self.follow_if_passed
        return [followed] if isinstance(followed, str) else list(followed or ())

    # A method, as what 2.11 passes differs; the host calls its own static one by the instance.
    def _set_state_to_skipped(  # type: ignore[override]
        self, tasks: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Skip what was not chosen, also in a mapped task group."""
        if not skip_in_mapped_task_group(tasks):
            super()._set_state_to_skipped(tasks, *args, **kwargs)

    def _refuse_followers_of_all_indexes(self, ti: Any) -> None:
        """Refuse tasks directly behind a mapped branch that do not belong to one of its indexes.

        Airflow would skip none of them, whatever the verdicts are.
        """
        if (ti.map_index if ti.map_index is not None else -1) < 0:
            return
        own = {group.group_id for group in self.iter_mapped_task_groups()}
        outside = [
            task_id
            for task_id in sorted(self.downstream_task_ids)
            if not own
            or own != {g.group_id for g in self.dag.get_task(task_id).iter_mapped_task_groups()}
        ]
        if outside:
            raise InvalidRequestError(
                f"Task {self.task_id} is mapped: each of its indexes has a verdict, but there is "
                f"one {', '.join(outside)} for all of them. Put the branch and what follows it "
                "directly into one mapped task group, or choose in a task that reads all verdicts."
            )

    def _chosen_run(self, ti: Any, before: Before) -> int:
        if self.test_run_id is not None:
            return as_run_id(self.test_run_id)
        pulled = [
            xcom.pull_from(ti, task_id, index, xcom.TEST_RUN_ID)
            for task_id, index, state in before
            if state in _STARTED or (state == "skipped" and self._has_skipped(ti, task_id, index))
        ]
        found = [run_id for run_id in pulled if run_id is not None]
        if len(found) != 1:
            names = ", ".join(sorted(self.upstream_task_ids)) or "none"
            raise InvalidRequestError(
                f"test_run_id is not given, and {len(found)} of the tasks directly before this one "
                f"({names}) have started a run this time: exactly one must have."
            )
        return as_run_id(found[0])

    def _before(self, ti: Any) -> Iterator[tuple[str, int, str | None]]:
        """Give the task instances directly before this one.

        Of a task in the same mapped task group it is that of the same index; of any other, all.
        """
        groups = {group.group_id for group in self.iter_mapped_task_groups()}
        for task_id in sorted(self.upstream_task_ids):
            theirs = self.dag.get_task(task_id).iter_mapped_task_groups() if groups else ()
            shared = any(group.group_id in groups for group in theirs)
            states = states_of(ti, task_id, ti.map_index if shared else None)
            for index, state in sorted(states.items()):
                yield task_id, index, state

    def _has_skipped(self, ti: Any, task_id: str, index: int) -> bool:
        """Say whether it is the policy that has skipped a task, and not Airflow before it began."""
        verdict = xcom.pull_from(ti, task_id, index, xcom.VERDICT)
        return isinstance(verdict, Mapping) and verdict.get("decision") == Decision.SKIP

    def _expected_commit(self, ti: Any, run_id: int, before: Before) -> str | None:
        """Return the commit to expect: a gate that was closed by it must not be opened here.

        Verdicts of an earlier time count as well: on the same run they can only ask for more.
        """
        from empirical_provider.wait_options import commit_to_expect, is_same_commit

        if self.expect_commit is not True:
            return commit_to_expect(as_field("expect_commit", self.expect_commit))
        expected = ""
        for task_id, index, _ in before:
            commit = _commit_of(xcom.pull_from(ti, task_id, index, xcom.VERDICT), run_id, task_id)
            shorter, longer = sorted((expected, commit), key=len)
            if shorter and not is_same_commit(shorter, longer):
                raise InvalidRequestError(
                    f"The tasks directly before this one expect two commits of test run {run_id}, "
                    f"{expected} and {commit}. {_SAY_WHICH}"
                )
            expected = longer
        return expected or None


def _commit_of(verdict: Any, run_id: int, task_id: str) -> str:
    """Return the commit that a verdict on the run has expected; "": none, or none on this run."""
    judged = verdict.get("run_id") if isinstance(verdict, Mapping) else None
    commit = verdict.get("expected_commit") if isinstance(verdict, Mapping) else None
    if verdict is None or (isinstance(judged, int) and (judged != run_id or commit is None)):
        return ""
    if isinstance(judged, int) and isinstance(commit, str) and commit.strip():
        return commit.strip()
    raise InvalidRequestError(
        f"The XCom verdict of task {task_id} is not understood: it holds no verdict. {_SAY_WHICH}"
    )
