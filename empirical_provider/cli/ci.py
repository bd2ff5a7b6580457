"""What the common CI systems tell about the build, by the environment variables they set.

The names are those of each system's own documentation. Where GitHub or GitLab test a merge that
they have made up for a pull or merge request, the commit is the request's own: the other is in no
branch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Origin", "origin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request comes from; what is not told is left out."""

    system: str
    build: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    github_actor: str | None = None


def origin(environ: Mapping[str, str]) -> Origin | None:
    """Return what the CI system says that this process runs in; None outside of those known."""
    for marker, read in _SYSTEMS.items():
        if environ.get(marker):
            return read(environ)
    return None


def _github_actions(environ: Mapping[str, str]) -> Origin:
    server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
    run_id, commit = environ.get("GITHUB_RUN_ID"), _commit_on_github(environ)
    home = f"{server}/{repository}" if server and repository else None
    return Origin(
        system="GitHub Actions",
        build=_told(
            branch=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME"),
            commit=commit,
            commit_url=f"{home}/commit/{commit}" if home and commit else None,
        ),
        metadata=_told(ci_url=f"{home}/actions/runs/{run_id}" if home and run_id else None),
        github_actor=environ.get("GITHUB_ACTOR") or None,
    )


def _commit_on_github(environ: Mapping[str, str]) -> str | None:
    if not environ.get("GITHUB_HEAD_REF"):  # set for pull requests only
        return environ.get("GITHUB_SHA")
    try:
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
        return str(event["pull_request"]["head"]["sha"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _gitlab(environ: Mapping[str, str]) -> Origin:
    project = environ.get("CI_PROJECT_URL")
    commit = environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environ.get("CI_COMMIT_SHA")
    return Origin(
        system="GitLab",
        build=_told(
            branch=environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
            or environ.get("CI_COMMIT_REF_NAME"),
            commit=commit,
            commit_url=f"{project}/-/commit/{commit}" if project and commit else None,
        ),
        metadata=_told(ci_url=environ.get("CI_JOB_URL")),
    )


def _buildkite(environ: Mapping[str, str]) -> Origin:
    return Origin(
        system="Buildkite",
        build=_told(branch=environ.get("BUILDKITE_BRANCH"), commit=environ.get("BUILDKITE_COMMIT")),
        metadata=_told(ci_url=environ.get("BUILDKITE_BUILD_URL")),
    )


def _circleci(environ: Mapping[str, str]) -> Origin:
    return Origin(
        system="CircleCI",
        build=_told(branch=environ.get("CIRCLE_BRANCH"), commit=environ.get("CIRCLE_SHA1")),
        metadata=_told(ci_url=environ.get("CIRCLE_BUILD_URL")),
    )


def _jenkins(environ: Mapping[str, str]) -> Origin:
    return Origin(
        system="Jenkins",
        build=_told(
            branch=environ.get("CHANGE_BRANCH") or environ.get("BRANCH_NAME"),
            commit=environ.get("GIT_COMMIT"),
        ),
        metadata=_told(ci_url=environ.get("BUILD_URL")),
    )


_SYSTEMS = {
    "GITHUB_ACTIONS": _github_actions,
    "GITLAB_CI": _gitlab,
    "BUILDKITE": _buildkite,
    "CIRCLECI": _circleci,
    "JENKINS_URL": _jenkins,
}


def _told(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
