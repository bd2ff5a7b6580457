"""Hostile values on their way through Prefect: run ids, blocks, artifacts, labels, frames."""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from markdown_it import MarkdownIt
from pydantic import SecretStr, ValidationError

import empirical_provider.prefect as ours
from empirical_provider import (
    EmpiricalError,
    GatePolicy,
    InvalidRequestError,
    TestResult,
    TestRun,
    TestRunState,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob
from empirical_provider.prefect.arguments import run_id_of
from empirical_provider.prefect.report import markdown, progress
from empirical_provider.prefect.showing import _link
from empirical_provider.verdict import judge
from tests.leaking import leaks_of

if TYPE_CHECKING:
    from conftest import Twin

VALUE = "override-value-77aa01"
FAST = {"poll_interval": 0.01}

BAD_IDS = [
    *("", "None", "456/../1", " 456", "४५६", "4_5", "0456", "456\n", "1.0", "{{ ds }}"),
    *(-1, 0, True, 1.0, None, [456], 2**53, 10**30, 10**5000, "9" * 30),
]


@pytest.mark.parametrize("given", BAD_IDS, ids=range(len(BAD_IDS)))
def test_a_run_id_is_read_strictly(
    given: Any, credentials: EmpiricalCredentials, empirical: Emulator, waiting: Twin
) -> None:
    """No task and no job takes for a run id what is not exactly one; nothing is sent."""
    job = EmpiricalTestJob(credentials=credentials, environment="staging")
    for call in (
        lambda: run_id_of(given),
        lambda: waiting.without_prefect(credentials=credentials, test_run_id=given),
        lambda: job.attach(given),
        lambda: asyncio.run(job.aattach(given)),
    ):
        with pytest.raises(InvalidRequestError, match=r"^test_run_id must be the id of a test run"):
            call()
    assert empirical.requests == []


def test_a_forged_label_cancels_nothing(
    credentials: EmpiricalCredentials, empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook reads run ids of labels, which others can write, as strictly as any."""

    class Api:
        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def read_flow_run(self, _: Any) -> Any:
            forged = ("1/../2", " 5", "४", "5_0", "-5", "")
            return SimpleNamespace(labels={f"empirical.test_run.{each}": "b" for each in forged})

    async def load(_: str) -> EmpiricalCredentials:
        return credentials

    monkeypatch.setattr("empirical_provider.prefect.cancelling.get_client", Api)
    monkeypatch.setattr(EmpiricalCredentials, "aload", load)
    told: list[str] = []
    log = SimpleNamespace(warning=lambda *args: told.append(args[0] % args[1:]))
    monkeypatch.setattr("empirical_provider.prefect.cancelling.flow_run_logger", lambda *_: log)
    hook = ours.cancel_test_runs_on_cancellation
    asyncio.run(hook(flow=None, flow_run=SimpleNamespace(id=1), state=None))  # type: ignore[arg-type]
    assert len(told) == 6
    assert all("test_run_id must be the id" in each for each in told)
    assert empirical.requests == []


# The block


@pytest.mark.parametrize(
    "field",
    ["verify", "verify_ssl", "cert", "proxy", "headers", "trust_env", "follow_redirects", "token",
     "retry_for"],
)  # fmt: skip
def test_no_field_weakens_the_connection(field: str) -> None:
    """A block has no field that turns verification off or sends the key by another way."""
    with pytest.raises(ValidationError, match=f"unknown key '{field}'"):
        EmpiricalCredentials(api_key="k", **{field: False})


def test_no_argument_says_where_the_key_goes() -> None:
    """No task, flow or job takes an address, a header or how to verify: only the block does."""
    callables = [
        *(getattr(ours, name) for name in ours.__all__ if name[0].islower()),
        EmpiricalTestJob.trigger,
        EmpiricalTestJob.attach,
    ]
    assert len(callables) > 8
    for each in callables:
        names = [*inspect.signature(getattr(each, "fn", each)).parameters]
        for word in ("url", "host", "header", "verify", "proxy", "bundle", "api_key", "client"):
            assert not [name for name in names if word in name], each


@pytest.mark.parametrize("name", ["base_url", "dashboard_url", "api_key", "ca_bundle", "verify"])
@pytest.mark.parametrize("kind", ["get_client", "get_async_client"])
def test_a_client_of_a_block_changes_no_address(
    kind: str, name: str, credentials: EmpiricalCredentials
) -> None:
    """The key of a block goes to the address of the block, whatever the caller wants."""
    with pytest.raises(InvalidRequestError, match=f"get_client has the unknown key '{name}'"):
        getattr(credentials, kind)(**{name: "https://evil.example"})


@pytest.mark.parametrize("kind", ["get_client", "get_async_client"])
def test_a_bundle_of_the_block_is_what_is_trusted(kind: str, tmp_path: Path) -> None:
    """The client trusts the authorities of the bundle and no others, and a missing file is told."""
    path = tmp_path / "authorities.pem"
    block = EmpiricalCredentials(api_key="k", ca_bundle=str(path))
    with pytest.raises(InvalidRequestError, match="ca_bundle must be the path of a PEM file"):
        getattr(block, kind)()
    trustme.CA().cert_pem.write_to_path(str(path))
    context = getattr(block, kind)()._http._transport._pool._ssl_context
    assert context.cert_store_stats()["x509"] == 1
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


# What is shown

FORGERIES = [
    "[x](javascript:alert(1))",
    "[x](https://evil.example)",
    "[x]: https://evil.example\n[x]",
    "![x](https://evil.example/pixel.png)",
    "<a href='javascript:alert(1)'>x</a>",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "https://evil.example/path",
    "HTTPS://evil.example",
    "ftp://evil.example",
    "www.evil.example",
    "WWW.EVIL.EXAMPLE",
    "mail me@evil.example",
    "xmpp:me@evil.example",
    "&lt;script&gt;",
    "`code` | cell | **bold**\n# heading\n- item",
    "\\](https://evil.example)",
]

AUTOLINKS = re.compile(
    # Those of marked and of mdast-util-gfm-autolink-literal, which Prefect's UIs are made with.
    r"(?:ftp|https?)://|www\.[a-z0-9-]|[-.\w+]+@[-\w]+(?:\.[-\w]+)+",
    re.IGNORECASE,
)


def rendered(text: str) -> list[Any]:
    """Return the tokens of a text that a reader of GitHub's markdown makes of it."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.validateLink = lambda _: True  # type: ignore[method-assign]  # it refuses javascript:
    tokens = parser.parse(text)
    return [*tokens, *(inner for token in tokens for inner in token.children or ())]


@pytest.mark.parametrize("text", FORGERIES)
def test_no_link_but_ours_is_on_a_page(text: str) -> None:
    """Whatever the service calls a test or a branch, the page has the run's link and no other."""
    run = TestRun(
        id=5,
        state=TestRunState.ERROR,
        url="https://dash.empirical.run/a%28b/test-runs/5",
        environment=text,
        branch=text,
        commit=text,
        error_code=text,
        tests=(TestResult(name=text, status="failed"),),
    )
    for page in (
        markdown(judge(run, GatePolicy())),
        progress(run)[1],
        f"[x]({run.url}) {_link(run)['description']}",
    ):
        tokens = rendered(page)
        links = [each.attrs["href"] for each in tokens if each.type == "link_open"]
        assert links == [run.url]
        kinds = {each.type for each in tokens}
        assert not kinds & {"html_inline", "html_block", "image", "code_inline", "strong_open"}
        words = [each.content for each in tokens if each.type == "text"]
        assert [each for each in words if AUTOLINKS.search(each) and run.url not in each] == []
        assert len([each for each in tokens if each.type == "heading_open"]) <= 2


def test_the_search_for_links_finds_them() -> None:
    """The reader of markdown that the test before goes by does make links of such texts."""
    found = [
        text
        for text in FORGERIES
        if any(
            each.type in {"link_open", "image", "html_inline", "html_block"}
            for each in rendered(text)
        )
        or AUTOLINKS.search(text)
    ]
    assert len(found) == len(FORGERIES) - 2


# What trackers take


def error_of(call: Callable[[], Any]) -> EmpiricalError:
    with pytest.raises(EmpiricalError) as error:
        call()
    return error.value


@pytest.mark.parametrize("case", ["bad field", "401", "lost", "rejected", "bad override"])
@pytest.mark.parametrize("shape", ["text", "SecretStr", "list"])
def test_a_start_that_fails_leaves_no_secret_in_any_frame(  # noqa: PLR0917  # fixtures, by name
    shape: str,
    case: str,
    twin: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    api_key: str,
) -> None:
    """However a start fails, no frame of it or of its causes has the key or an override's value."""
    overrides: Any = {
        "text": {"TOKEN": VALUE},
        "SecretStr": {"TOKEN": SecretStr(VALUE)},
        "list": [{"name": "TOKEN", "value": VALUE}],
    }[shape]
    call = {
        "credentials": credentials,
        "environment": "staging",
        "environment_variables_overrides": overrides,
    }
    if case == "bad field":
        call["tags"] = [""]
    elif case == "bad override":
        call["environment_variables_overrides"] = {"A": VALUE, "B": SecretStr(f"{VALUE}\ud800")}
    elif case == "401":
        empirical.revoke(api_key)
    elif case == "lost":
        empirical.fault("trigger", "drop", when="after")
    else:
        empirical.script("staging", "rejected")
    error = error_of(lambda: twin.without_prefect(**call))
    assert leaks_of(error, [api_key, VALUE]) == []


@pytest.mark.parametrize("case", ["401", "red", "not found"])
def test_a_wait_that_fails_leaves_no_key_in_any_frame(
    case: str,
    waiting: Twin,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    api_key: str,
) -> None:
    """A wait that ends in whatever error has no key in a frame, in the shared look's either."""
    empirical.script("staging", "failed")
    with credentials.get_client() as client:
        run = client.trigger(_staging())
    if case == "401":
        empirical.revoke(api_key)
    elif case == "not found":
        empirical.delete_run(run.id)
    call = {"credentials": credentials, "test_run_id": run.id, "timeout": 0.3, **FAST}
    error = error_of(lambda: waiting.without_prefect(**call))
    assert leaks_of(error, [api_key]) == []


def test_a_whole_gate_that_fails_leaves_no_secret_in_any_frame(
    running: Twin, credentials: EmpiricalCredentials, empirical: Emulator, api_key: str
) -> None:
    """Red tests raise an error whose frames have neither key nor override."""
    empirical.script("staging", "failed")
    call = {"environment": "staging", "environment_variables_overrides": {"T": VALUE}, **FAST}
    error = error_of(lambda: running.without_prefect(credentials=credentials, **call))
    assert leaks_of(error, [api_key, VALUE]) == []


@pytest.mark.parametrize("kind", ["trigger", "atrigger"])
def test_a_job_that_fails_leaves_no_override_in_a_frame_of_ours(
    kind: str, credentials: EmpiricalCredentials, empirical: Emulator, api_key: str
) -> None:
    """Of a job, too: what Prefect's own engine keeps of plain texts is masked by a SecretStr."""
    empirical.script("staging", "rejected")
    job = EmpiricalTestJob(credentials=credentials, environment="staging")

    def start(value: Any) -> Any:
        made = getattr(job, kind)(environment_variables_overrides={"T": value})
        return asyncio.run(made) if inspect.isawaitable(made) else made

    plain = leaks_of(error_of(lambda: start(VALUE)), [api_key, VALUE])
    assert [place for place in plain if place.startswith("empirical_provider")] == []
    assert leaks_of(error_of(lambda: start(SecretStr(VALUE))), [api_key, VALUE]) == []


def _staging() -> Any:
    from empirical_provider import TestRunRequest  # noqa: PLC0415  # pytest would collect it

    return TestRunRequest(environment="staging")
