"""The branch: promote or roll back, by the verdict on a run that has finished."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from empirical_provider.airflow import xcom
from empirical_provider.airflow.links import EmpiricalTestRunLink
from empirical_provider.airflow.rendered import as_run_id
from empirical_provider.airflow.versions import (
    AirflowException,
    AirflowSkipException,
    BaseBranchOperator,
    BaseOperatorLink,
    final,
)
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import Decision, GatePolicy

__all__ = ["EmpiricalBranchOperator"]

log = logging.getLogger(__name__)


class EmpiricalBranchOperator(BaseBranchOperator):
    """Go on with one set of tasks if the tests of a run passed, and with another if not.

    It reads the run and judges it anew under its own policy, so it does not matter how the gate
    before it ended; behind a gate that may be red, give it ``trigger_rule="all_done"``. Directly
    following tasks that are not chosen are skipped. Returns the ids that were chosen. XComs:
    ``verdict`` and ``test_run_url``.

    Args:
        test_run_id: Database id of the run, a number or a text of digits; templated. Default: the
            run of the one task directly before this one that has pushed ``test_run_id``.
        follow_if_passed: Id of a task or task group (or several) for a verdict that passes;
            default: none, so that all are skipped; templated.
        follow_if_failed: The same for a verdict that fails; templated.
        expect_commit: The commit that must have been tested; default True: the one that a task
            directly before this one has expected of this run. False: any. Templated.
        policy: What the verdict goes by: a `GatePolicy`, or a mapping of its fields; by default
            only passed tests pass. An outcome that it skips skips this task.
        empirical_conn_id: Id of the connection; default ``empirical_default``; templated.

    Raises:
        AirflowFailException: There is no such run, or the key is refused, or test_run_id is none.
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
        test_run_id: int | str | None = None,
        follow_if_passed: str | Iterable[str] | None = None,
        follow_if_failed: str | Iterable[str] | None = None,
        expect_commit: str | bool | None = True,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        empirical_conn_id: str = "empirical_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.test_run_id = test_run_id
        self.follow_if_passed = follow_if_passed
        self.follow_if_failed = follow_if_failed
        self.expect_commit = expect_commit
        self.policy = GatePolicy.of(policy)
        self.empirical_conn_id = empirical_conn_id

    def choose_branch(self, context: Any) -> list[str]:
        """Read the run, judge it, and return the ids of the tasks to go on with."""
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.expected_commit import find_commit
        from empirical_provider.verdict import judge

        ti = context["ti"]
        with final():
            run_id = self._chosen_run(ti)
            expected = self._expected_commit(ti, run_id)
            with EmpiricalHook(self.empirical_conn_id).get_conn() as client:
                run = find_commit(client, client.get_test_run(run_id), expected)
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
        followed = self.follow_if_failed if verdict.is_closed else self.follow_if_passed
        return [followed] if isinstance(followed, str) else list(followed or ())

    def _chosen_run(self, ti: Any) -> int:
        if self.test_run_id is not None:
            return as_run_id(self.test_run_id)
        before = sorted(self.upstream_task_ids)
        pulled = [ti.xcom_pull(task_ids=task_id, key=xcom.TEST_RUN_ID) for task_id in before]
        found = [run_id for run_id in pulled if run_id is not None]
        if len(found) != 1:
            raise InvalidRequestError(
                f"test_run_id is not given, and {len(found)} of the tasks directly before this one "
                f"({', '.join(before) or 'none'}) have started a run: exactly one must have."
            )
        return as_run_id(found[0])

    def _expected_commit(self, ti: Any, run_id: int) -> str | None:
        """Return the commit to expect: a gate that was closed by it must not be opened here."""
        from empirical_provider.wait_options import commit_to_expect

        if self.expect_commit is not True:
            return commit_to_expect(self.expect_commit)
        for task_id in sorted(self.upstream_task_ids):
            verdict = ti.xcom_pull(task_ids=task_id, key=xcom.VERDICT)
            if isinstance(verdict, Mapping) and verdict.get("run_id") == run_id:
                return commit_to_expect(verdict.get("expected_commit"))
        return None
