"""The JSON of an answer: what is read of it, and what no result and no error says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from empirical_provider import EmpiricalError, TestRunRequest, UnreadableAnswerError, endpoints
from empirical_provider.answers import Unreadable
from empirical_provider.decoding import from_json
from empirical_provider.outcomes import result_of
from empirical_provider.receiving import Answer
from empirical_provider.settings import Settings

KEY = 'emp-key-"5f1d0c7ab9'
SETTINGS = Settings.checked(
    api_key=KEY,
    base_url=None,
    project_id=None,
    project_slug=None,
    dashboard_url=None,
    timeout=None,
    retry_for=0,
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": -Infinity}', "is not JSON"),
        (b'{"a": 1e999}', "is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        ('{"a": 1}'.encode("utf-16"), "is not JSON"),
        (b'{"a": {"id": 1, "id": 1}}', "a name stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "a name stands twice"),
        (b"[" + b"{}," * 300_000 + b"0]", "holds more than 600000 values"),
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(body: bytes, words: str) -> None:
    """Only JSON that every reader takes for the same, and that fits into memory, is an answer."""
    with pytest.raises(Unreadable, match=words):
        from_json(body)


def test_half_a_character_becomes_a_whole_one() -> None:
    """A title that was cut in the middle of an emoji is read as a text that can be stored."""
    found = from_json(b'{"a\\ud83d": ["\\uDE00b", "\\ud83d\\ude00", 1, null]}')
    assert found == {"a\ufffd": ["\ufffdb", "\U0001f600", 1, None]}


@pytest.mark.parametrize("depth", [100, 500, 800, 950])
def test_what_is_too_deep_for_us_is_unreadable(depth: int) -> None:
    """However deep a text with a secret lies, it comes back without it, or nothing does."""
    body = b"[" * depth + b'"hush-hush \\ud800"' + b"]" * depth
    try:
        found = from_json(body, ["hush-hush"])
    except Unreadable:
        assert depth > 100
    else:
        for _ in range(depth):
            [found] = found
        assert found == "*** \ufffd"


def triggered(request: TestRunRequest, **fields: Any) -> Any:
    body = {"data": {"test_run": {"id": 456, "state": "queued", **fields}}}
    return result_of(
        SETTINGS, endpoints.trigger(request), Answer(200, {}, json.dumps(body).encode())
    )


def test_no_result_says_a_secret() -> None:
    """A service that says the key or the value of an override where another text belongs does not
    make us repeat it."""
    request = TestRunRequest(
        environment="staging", environment_variables_overrides={"TOKEN": 'say "hush-hush"'}
    )
    run = triggered(request, state=f"as {KEY}", metadata={KEY: 'I say "hush-hush"!'}, error_code=1)
    assert "5f1d0c7ab9" not in repr(run)
    assert "hush" not in repr(run)
    assert (run.state, run.metadata) == ("as ***", {"***": "I ***!"})


def test_what_the_request_says_openly_is_no_secret() -> None:
    """The branch that was asked for is told, although an override has the same value; and so are
    short words, which say nothing."""
    request = TestRunRequest(
        environment="staging",
        branch="feature/login",
        environment_variables_overrides={"BRANCH": "feature/login", "STATE": "queued"},
    )
    run = triggered(request, test_run_branch="feature/login")
    assert (run.branch, run.state) == ("feature/login", "queued")


@pytest.mark.parametrize("said", ["hush\nhush", "hush\x00hush", "hush  hush"])
def test_no_error_says_a_secret_in_other_words(said: str) -> None:
    """White space that is tidied up makes no secret of what was none."""
    request = TestRunRequest(environment="e", environment_variables_overrides={"A": "hush hush"})
    plain = Answer(422, {}, json.dumps({"message": said}).encode())
    with pytest.raises(EmpiricalError) as error:
        result_of(SETTINGS, endpoints.trigger(request), plain)
    assert "hush hush" not in str(error.value)


@pytest.mark.parametrize("between", ["\n", "\x00", "\x7f", "\u2028"])
def test_no_result_says_a_secret_once_it_is_one_line(between: str) -> None:
    """Nor does a control character that becomes a space, in the middle of a text or at two ends."""
    request = TestRunRequest(environment="e", environment_variables_overrides={"A": "hush hush"})
    run = triggered(request, state=f"hush{between}hush", test_run_branch=f"a hush{between}hush.")
    assert (run.state, run.branch) == ("***", "a ***.")
    body = json.dumps(["hush", "hush"]).encode()
    assert from_json(body, ["hush hush"]) == ["hush", "hush"]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_error_says_a_secret_the_way_json_writes_it(ascii_only: bool) -> None:
    """A secret with a quotation mark and a letter beyond ASCII is known in a quoted body."""
    secret = 'né"hush-hush'
    request = TestRunRequest(environment="e", environment_variables_overrides={"A": secret})
    body = json.dumps({"nobody": secret}, ensure_ascii=ascii_only).encode()
    with pytest.raises(EmpiricalError) as error:
        result_of(SETTINGS, endpoints.trigger(request), Answer(422, {}, body))
    assert "hush" not in str(error.value)


def test_an_error_keeps_nothing_of_a_large_answer() -> None:
    """A wait holds on to its last trouble; the answer it came of is not part of that."""
    body = json.dumps({"data": {"test_run": ["x" * 1_000_000]}}).encode()
    with pytest.raises(UnreadableAnswerError) as error:
        result_of(SETTINGS, endpoints.get_test_run(456), Answer(200, {}, body))
    cause = error.value.__cause__
    assert isinstance(cause, Unreadable)
    assert cause.__traceback__ is None
