"""The preflight: what would keep a test run from starting is found before the release."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow.literals import check_literals
from empirical_provider.airflow.rendered import (
    as_field,
    given_fields,
    plain,
    refuse_leftovers,
    refuse_nothing,
)
from empirical_provider.airflow.versions import BaseOperator, final

if TYPE_CHECKING:
    from empirical_provider.airflow.versions import XComArg
    from empirical_provider.request import Build

__all__ = ["EmpiricalPreflightOperator"]

log = logging.getLogger(__name__)

_FIELDS = ("environment", "build", "branch", "tags", "test_case_ids")
"""Those of the request that can be checked."""


class EmpiricalPreflightOperator(BaseOperator):
    """Fail before the release if its test run could not be started; it starts nothing.

    The key is tried, and the environment must be known and enabled. Tags and test case ids must
    exist, where the service lists test cases. Give it what the task that tests the release gets,
    and put it before the task that releases. Returns a dict: ``environment`` (id, slug, name,
    is_default, is_disabled) and ``unchecked``, the fields about which the API cannot tell, such as
    ``branch``.

    Args:
        environment: Slug of the environment; default: the connection's ``environment``; templated,
            like all that follow.
        build: The application build under test: url, branch, commit, commit_url, version.
        branch: Branch of the test repository; default: none is named. With one, or with
            ``build.branch``, tests that are missing from the default branch are unchecked.
        tags: Tags of the tests that would run; default: all tests.
        test_case_ids: Ids of the tests that would run; default: all.
        empirical_conn_id: Id of the connection; default ``empirical_default``.

    Raises:
        AirflowFailException: Something is wrong; all of it is named, with the nearest environment
            for one that is not known. No retry mends it. The cause is one of
            `empirical_provider.exceptions`.
        EmpiricalError: The service could not be asked, which may pass.
    """

    template_fields: Sequence[str] = (*_FIELDS, "empirical_conn_id")
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        environment: str | XComArg | None = None,
        build: Build | Mapping[str, str | XComArg | None] | str | XComArg | None = None,
        branch: str | XComArg | None = None,
        tags: Iterable[str | XComArg] | str | XComArg | None = None,
        test_case_ids: Iterable[str | XComArg] | str | XComArg | None = None,
        empirical_conn_id: str = "empirical_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.build = plain(build)
        self.branch = branch
        self.tags = tags
        self.test_case_ids = test_case_ids
        self.empirical_conn_id = empirical_conn_id
        self._given = given_fields(self)
        check_literals(self, _FIELDS)

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002  # the host's signature
        """Check, and return what was found."""
        from empirical_provider.airflow.hooks import EmpiricalHook
        from empirical_provider.preflighting import preflight
        from empirical_provider.request import TestRunRequest

        with final():
            refuse_nothing(self, self._given)
            hook = EmpiricalHook(self.empirical_conn_id)
            fields: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
            if fields["environment"] is None:
                fields["environment"] = hook.default_environment
            fields = {name: as_field(name, value) for name, value in fields.items()}
            refuse_leftovers(fields)
            request = TestRunRequest(**fields)
            with hook.get_conn() as client:
                report = preflight(client, request)
        log.info("%s", report.summary)
        return report.as_dict()
