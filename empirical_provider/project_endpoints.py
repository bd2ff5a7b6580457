"""Requests about the project: its environments, its test cases, and itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from empirical_provider import answers, checks
from empirical_provider.endpoints import MOST_PER_PAGE, Call
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.models import Environment, Project

__all__ = ["get_project", "list_environments", "list_test_cases"]


def list_environments(project_id: int | None) -> Call[list[Environment]]:
    """Read the environments of the project."""

    def read(answer: Any) -> list[Environment]:
        found = []
        for item in answers.array(answers.data_of(answer).get("environments"), "data.environments"):
            row = answers.mapping(item, "an item of data.environments")
            found.append(
                Environment(
                    id=answers.positive_id(row, "an item of data.environments"),
                    slug=answers.needed_text(row, "slug", "an item of data.environments"),
                    name=answers.text(row, "name"),
                    is_default=answers.flag(row, "is_default"),
                    is_disabled=answers.flag(row, "is_disabled"),
                )
            )
        return found

    return Call(
        asked="list the environments",
        method="GET",
        path="/api/environments/list",
        read=read,
        params=None if project_id is None else {"project_id": project_id},
    )


def list_test_cases(*, tag: str | None = None, ids: Sequence[str] = ()) -> Call[list[str]]:
    """Read the ids of test cases: of one that has a tag, or of those of the ids that exist.

    Documented for ``api.empirical.run``; whether other hosts answer it is not known.
    """
    for each in (*ids, *([] if tag is None else [tag])):
        if "," in each:
            raise InvalidRequestError(f"A list cannot be asked for {checks.named(each)}: commas.")
    params: dict[str, str | int] = {"per_page": MOST_PER_PAGE, "ids": ",".join(ids)}

    def read(answer: Any) -> list[str]:
        where = "data.test_cases"
        rows = answers.array(answers.data_of(answer).get("test_cases"), where)
        items = (answers.mapping(row, f"an item of {where}") for row in rows)
        return [answers.needed_text(item, "id", f"an item of {where}") for item in items]

    return Call(
        asked="list the test cases",
        method="GET",
        path="/api/v2/test-cases",
        read=read,
        params=params if tag is None else {"per_page": 1, "tags": tag},
    )


def get_project(project_id: int) -> Call[Project]:
    """Read a project, for the slug in its dashboard URLs."""
    project_id = checks.whole_number("project_id", project_id, at_least=1)

    def read(answer: Any) -> Project:
        data = answers.data_of(answer)
        told = answers.integer(data, "id")  # the documentation does not promise one
        if told not in (None, project_id):
            raise answers.Unreadable(f"it tells of project {told} instead of {project_id}")
        return Project(
            id=project_id,
            slug=answers.needed_text(data, "slug", "data"),
            name=answers.text(data, "name"),
        )

    return Call(
        asked=f"read project {project_id}",
        method="GET",
        path=f"/api/projects/{project_id}",
        read=read,
    )
