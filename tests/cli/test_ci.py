"""What is taken from the CI systems, by the variables that their documentation names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from empirical_provider.cli.ci import origin

if TYPE_CHECKING:
    from pathlib import Path

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ID": "99",
    "GITHUB_SHA": "c0ffee",
    "GITHUB_REF_NAME": "main",
    "GITHUB_ACTOR": "octo",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_URL": "https://gitlab.com/acme/shop",
    "CI_COMMIT_SHA": "c0ffee",
    "CI_COMMIT_REF_NAME": "main",
    "CI_JOB_URL": "https://gitlab.com/acme/shop/-/jobs/99",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_COMMIT": "c0ffee",
    "BUILDKITE_BUILD_URL": "https://buildkite.com/acme/shop/builds/99",
}
CIRCLECI = {
    "CIRCLECI": "true",
    "CIRCLE_BRANCH": "main",
    "CIRCLE_SHA1": "c0ffee",
    "CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/shop/99",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example.com",
    "BRANCH_NAME": "main",
    "GIT_COMMIT": "c0ffee",
    "BUILD_URL": "https://ci.example.com/job/shop/99/",
}


@pytest.mark.parametrize(
    ("environ", "ci_url"),
    [
        (GITHUB, "https://github.com/acme/shop/actions/runs/99"),
        (GITLAB, GITLAB["CI_JOB_URL"]),
        (BUILDKITE, BUILDKITE["BUILDKITE_BUILD_URL"]),
        (CIRCLECI, CIRCLECI["CIRCLE_BUILD_URL"]),
        (JENKINS, JENKINS["BUILD_URL"]),
    ],
    ids=["GitHub Actions", "GitLab", "Buildkite", "CircleCI", "Jenkins"],
)
def test_branch_commit_and_job_are_taken(environ: dict[str, str], ci_url: str) -> None:
    """Each system tells the branch, the commit and the page of the job."""
    found = origin(environ)
    assert found is not None
    assert (found.build["branch"], found.build["commit"]) == ("main", "c0ffee")
    assert found.metadata == {"ci_url": ci_url}


def test_links_to_the_commit_and_the_actor_are_taken_where_they_are_told() -> None:
    """GitHub and GitLab tell where a commit is shown, GitHub also who started the job."""
    found, other = origin(GITHUB), origin(GITLAB)
    assert found is not None
    assert other is not None
    assert found.build["commit_url"] == "https://github.com/acme/shop/commit/c0ffee"
    assert found.github_actor == "octo"
    assert other.build["commit_url"] == "https://gitlab.com/acme/shop/-/commit/c0ffee"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (GITHUB, "GITHUB_HEAD_REF"),
        (GITLAB, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"),
        (JENKINS, "CHANGE_BRANCH"),
    ],
)
def test_the_branch_of_a_request_is_its_source(environ: dict[str, str], name: str) -> None:
    """In a pull or merge request the branch under test is the one that asks."""
    found = origin({**environ, name: "feature"})
    assert found is not None
    assert found.build["branch"] == "feature"


def test_the_commit_of_a_request_is_its_source(tmp_path: Path) -> None:
    """Not the merge that GitHub or GitLab has made up to test it; without the event, none."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"sha": "f00d"}}}), "utf-8")
    pull_request = {**GITHUB, "GITHUB_HEAD_REF": "feature"}
    found = origin({**pull_request, "GITHUB_EVENT_PATH": str(event)})
    assert found is not None
    assert found.build == {
        "branch": "feature",
        "commit": "f00d",
        "commit_url": "https://github.com/acme/shop/commit/f00d",
    }
    for lacking in ({}, {"GITHUB_EVENT_PATH": str(tmp_path / "none.json")}):
        found = origin({**pull_request, **lacking})
        assert found is not None
        assert found.build == {"branch": "feature"}
    found = origin({**GITLAB, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "f00d"})
    assert found is not None
    assert found.build["commit"] == "f00d"


def test_what_is_not_told_is_left_out() -> None:
    """A system that tells nothing gives nothing, and outside of all there is no origin."""
    found = origin({"GITHUB_ACTIONS": "true"})
    assert found is not None
    assert (found.build, found.metadata, found.github_actor) == ({}, {}, None)
    assert origin({}) is None
