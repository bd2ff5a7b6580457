"""What the vendor's own GitHub action sends is understood, and can be said with `TestRunRequest`.

The requests were recorded from it; what is expected of each stands here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from empirical_provider import InvalidRequestError, TestRunRequest

REQUESTS = {
    each["case"]: each
    for each in json.loads((Path(__file__).parent / "data/action_requests.json").read_text())[
        "requests"
    ]
}
STATUS = {
    "1b metadata Infinity": 422,  # JavaScript makes null of it, which is neither text nor number
    "6 unknown environment": 400,
    "7 bad key": 401,
    "8 no key": 401,
    "9 platform only (environment empty)": 422,
}
"""What is not 200."""

REJECTED = {
    "1b metadata Infinity": "metadata['inf'] must be a string or a number",
    "5 duplicate env var": "environment_variables_overrides sets 'A' twice",
    "9 platform only (environment empty)": "environment must be a non-empty string",
    "10 schedule event, no ref": "build.branch must be a non-empty string",
    "14 no actor, no sha": "build.commit must be a non-empty string",
}
"""What we refuse to send. The first and third the service refuses, too; of two values for one
variable nobody knows which counts; and an empty text is no commit and no branch."""


def send(http: httpx.Client, case: dict[str, Any]) -> httpx.Response:
    key = {"bad": {"Authorization": "Bearer wrong-key"}, None: {"Authorization": ""}}
    return http.put("/api/test-runs", json=case["body"], headers=key.get(case["key"], {}))


@pytest.mark.parametrize("name", REQUESTS)
def test_the_action_is_answered_as_it_reads(name: str, http: httpx.Client, empirical: Any) -> None:
    """It takes any 2xx for a start, and reads the ids of run and project, then the slug."""
    case = REQUESTS[name]
    if case["key"] == "bad":
        empirical.revoke("wrong-key")
    answer = send(http, case)
    assert answer.status_code == STATUS.get(name, 200), answer.text
    if answer.status_code != 200:
        assert isinstance(answer.json()["error"]["message"], str)
        return
    started = answer.json()["data"]["test_run"]
    assert isinstance(started["id"], int)
    project = http.get(f"/api/projects/{started['project_id']}").json()["data"]
    assert project["slug"] == "acme"


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_can_be_made_with_ours(name: str) -> None:
    """The body comes out of a `TestRunRequest` as it went in, or is refused for a known reason."""
    body = REQUESTS[name]["body"]
    if name in REJECTED:
        with pytest.raises(InvalidRequestError) as error:
            TestRunRequest(**body)
        assert REJECTED[name] in str(error.value)
    else:
        assert TestRunRequest(**body).body() == body
