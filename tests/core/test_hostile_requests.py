"""Whatever users give arrives to the byte, or is refused by name: it becomes nothing else."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    EmpiricalError,
    InvalidRequestError,
    TestRun,
    TestRunRequest,
    TestRunState,
    wait_for_test_run,
)
from empirical_provider.emulator import Emulator
from empirical_provider.trigger_key import TriggerKey
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from empirical_provider.emulator.journal import RecordedRequest
    from tests.core.conftest import Twin

KEY = "emp-key-5f1d0c7ab9"
SENT_HEADERS = {
    *("host", "accept", "accept-encoding", "connection", "user-agent", "authorization"),
    *("content-length", "content-type", "x-project-id"),
}

NASTY = [
    "\r\nX-Injected: yes",
    "staging\nGET /api HTTP/1.1",
    "staging\n",
    "a\x00b",
    "\x1b[31mred",
    "\u202egnp.exe",
    "\u2066isolated",
    "\u2028next",
    "\ud800",
    "half \udfff",
    "{{ ds }}",
    "{% raw %}",
    "None",
    "../../evil",
    "a&state=ended#x",
    "a,b",
    "%0d%0a",
    "'; DROP TABLE runs",
    " padded ",
    "日本語 👩‍👩‍👧",
    "x" * 100_000,
]
anything = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=40),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lu"]), max_size=6),
)

BODY_FIELDS: dict[str, tuple[Callable[[str], dict[str, Any]], Callable[[str], Any]]] = {
    "environment": (lambda text: {"environment": text}, lambda text: text),
    "branch": (lambda text: {"branch": text}, lambda text: text),
    "build.branch": (lambda text: {"build": {"branch": text}}, lambda text: {"branch": text}),
    "build.commit": (lambda text: {"build": {"commit": text}}, lambda text: {"commit": text}),
    "build.version": (lambda text: {"build": {"version": text}}, lambda text: {"version": text}),
    "build.url": (
        lambda text: {"build": {"url": f"https://a.example/{text}"}},
        lambda text: {"url": f"https://a.example/{text}"},
    ),
    "build.commit_url": (lambda text: {"build": {"commit_url": text}}, lambda _: None),
    "metadata": (lambda text: {"metadata": {"m": text}}, lambda text: {"m": text}),
    "a key of metadata": (lambda text: {"metadata": {text: "m"}}, lambda text: {text: "m"}),
    "environment_variables_overrides[0].name": (
        lambda text: {"environment_variables_overrides": [{"name": text, "value": "v"}]},
        lambda text: [{"name": text, "value": "v"}],
    ),
    "environment_variables_overrides": (
        lambda text: {"environment_variables_overrides": {"N": text}},
        lambda text: [{"name": "N", "value": text}],
    ),
    "tags": (lambda text: {"tags": ["@a", text]}, lambda text: ["@a", text]),
    "test_case_ids": (lambda text: {"test_case_ids": [text]}, lambda text: [text]),
    "github_actor": (lambda text: {"github_actor": text}, lambda text: text),
    "concurrency.group": (
        lambda text: {"concurrency": {"group": text, "on_conflict": "wait"}},
        lambda text: {"group": text, "on_conflict": "wait"},
    ),
    "concurrency.on_conflict": (
        lambda text: {"concurrency": {"group": "g", "on_conflict": text}},
        lambda _: None,
    ),
}


class Service:
    """The local Empirical, and what a client makes it hear."""

    def __init__(self, emulator: Emulator, client: EmpiricalClient) -> None:
        self.emulator = emulator
        self.client = client

    def heard(self, send: Callable[[EmpiricalClient], Any]) -> RecordedRequest | str:
        """Return the one request that was sent, or the words with which it was refused."""
        self.emulator.reset()
        try:
            send(self.client)
        except InvalidRequestError as refusal:
            if refusal.status is None:
                assert self.emulator.requests == []
                return str(refusal)
        except EmpiricalError:
            pass  # the service has its own opinion, and it has heard
        [request] = self.emulator.requests
        assert set(request.headers) <= SENT_HEADERS
        assert request.headers["x-project-id"] == "7"
        return request


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with (
        Emulator(api_keys=[KEY]) as emulator,
        EmpiricalClient(
            api_key=KEY, base_url=emulator.url, project_id=7, project_slug="acme", retry_for=0
        ) as client,
    ):
        yield Service(emulator, client)


def utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("field", BODY_FIELDS)
@settings(max_examples=examples(60), deadline=None)
@given(text=anything)
@example(text="\r\nX-Injected: yes")
@example(text="\ud800")
@example(text="x" * 100_000)
def test_a_field_arrives_to_the_byte_or_is_refused(field: str, text: str, service: Service) -> None:
    """Any text in any field is in the body as it was given, or refused by that field's name."""
    give, arrives = BODY_FIELDS[field]
    fields = {"environment": "staging", **give(text)}
    heard = service.heard(lambda client: client.trigger(TestRunRequest(**fields)))
    name = field.partition("[")[0].partition(".")[0]
    if isinstance(heard, str):
        assert field in heard or heard.startswith(name)
        assert len(heard) < 400
        assert heard.isprintable()
    else:
        assert (heard.method, heard.path, dict(heard.query)) == ("PUT", "/api/test-runs", {})
        name = name.removeprefix("a key of ")
        assert heard.body == {"environment": "staging", name: arrives(text)}


@pytest.mark.parametrize(
    "value",
    ["-----BEGIN KEY-----\nabc\n-----END KEY-----\n", "", "a=b", "{{ name }}", "\t", "a\x00b"],
)
def test_free_text_may_have_many_lines(value: str, service: Service) -> None:
    """Values of overrides and of metadata are the user's: a PEM key, a template, an empty text."""
    request = TestRunRequest(
        environment="staging",
        environment_variables_overrides={"V": value},
        metadata={"v": value},
    )
    heard = service.heard(lambda client: client.trigger(request))
    assert not isinstance(heard, str)
    assert heard.body["environment_variables_overrides"] == [{"name": "V", "value": value}]
    assert heard.body["metadata"] == {"v": value}


@settings(max_examples=examples(60), deadline=None)
@given(number=st.one_of(st.integers(), st.floats(), st.integers(-3, 3).map(lambda n: 2**53 + n)))
@example(number=10**5000)
@example(number=-(10**5000))
def test_a_number_arrives_as_it_is_or_is_refused(number: float, service: Service) -> None:
    """A number that a reader of JSON would round, or cannot write, is refused by its key."""
    heard = service.heard(
        lambda client: client.trigger(TestRunRequest(environment="staging", metadata={"n": number}))
    )
    if isinstance(heard, str):
        assert heard.startswith("metadata['n'] must be a ")
        assert len(heard) < 400
        assert not (isinstance(number, int) and abs(number) < 2**53)
    else:
        assert heard.body["metadata"] == {"n": number}


@settings(max_examples=examples(100), deadline=None)
@given(text=anything)
def test_a_filter_of_the_list_stays_in_its_parameter(text: str, service: Service) -> None:
    """A text in a filter is that parameter's value and no other's, or refused by name."""
    heard = service.heard(lambda client: list(client.list_test_runs(branch=text)))
    if isinstance(heard, str):
        assert heard.startswith("branch must be")
    else:
        assert heard.path == "/api/test-runs"
        assert heard.query == {"branch": text, "per_page": "100", "page": "1"}


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"state": "ended&x=1"}, "state must be pending or queued"),
        ({"state": ["ended"]}, "state must be .* not list"),
        ({"result": "x" * 10_000}, "result must be passed or failed, not 'xxx"),
        ({"environment_ids": 5}, "environment_ids must be a list of integers, not int"),
        ({"environment_ids": "12"}, "environment_ids must be a list of integers, not str"),
        ({"environment_ids": [True]}, r"environment_ids\[0\] must be an integer"),
        ({"environment_ids": []}, "environment_ids must name at least one"),
        ({"interval_in_days": 10**5000}, "interval_in_days must be at most"),
        ({"per_page": -(10**5000)}, "per_page must be at least 1, not a far larger one"),
        ({"per_page": 101}, "per_page must be at most 100"),
    ],
)
def test_a_bad_filter_is_refused(filters: dict[str, Any], message: str, service: Service) -> None:
    """What is no value of a filter is refused before anything is sent, in a short message."""
    service.emulator.reset()
    with pytest.raises(InvalidRequestError, match=message) as refusal:
        service.client.list_test_runs(**filters)
    assert len(str(refusal.value)) < 400
    assert service.emulator.requests == []


@settings(max_examples=examples(60), deadline=None)
@given(text=anything)
def test_a_reason_arrives_to_the_byte_or_is_refused(text: str, service: Service) -> None:
    """The reason of a cancel, which may have many lines, is in the body as it was given."""
    heard = service.heard(lambda client: client.cancel_test_run(456, reason=text))
    if isinstance(heard, str):
        assert heard.startswith("reason must be")
        assert not (utf8(text) and text.strip())
    else:
        assert (heard.path, heard.body) == ("/api/test-runs/456/cancel", {"reason": text})


BAD_IDS = [
    *("456", "", "None", "456/../1", " 456", "४५६", "4_5", "456\n", "456?x=1", "{{ ds }}"),
    *(-1, 0, True, 1.0, 456.5, None, b"456", 2**53, 10**30, 10**5000, -(10**5000)),
]
METHODS = ["get_test_run", "cancel_test_run", "rerun_test_run"]


@pytest.mark.parametrize(
    "run_id",
    BAD_IDS,
    ids=lambda value: (
        f"{value!r:.20}" if not isinstance(value, int) else f"int{value.bit_length()}"
    ),
)
@pytest.mark.parametrize("method", [*METHODS, "wait_for_test_run", "get_project"])
def test_an_id_is_an_integer_and_nothing_else(
    method: str, run_id: Any, empirical: Emulator, ask: Twin
) -> None:
    """No client and no wait takes an id that is no positive integer, or one beyond any database."""
    call = ask.wait_for_test_run if method == "wait_for_test_run" else lambda run: ask(method, run)
    with pytest.raises(InvalidRequestError, match=r"^(run|project)_id must be ") as refusal:
        call(run_id)
    assert len(str(refusal.value)) < 200
    assert empirical.requests == []


@pytest.mark.parametrize("given", [456, "456", 2**53 - 1, str(2**53 - 1)])
def test_an_id_of_a_host_may_be_digits(given: int | str) -> None:
    """The rule that every host reads run ids by takes an integer, or exactly its digits."""
    from empirical_provider.checks import run_id  # noqa: PLC0415  # not a public name

    assert run_id("test_run_id", given) == int(given)


@pytest.mark.parametrize(
    "given",
    [*BAD_IDS[1:], "0", "0456", "+456", "1e3", str(2**53)],
    ids=lambda value: (
        f"{value!r:.20}" if not isinstance(value, int) else f"int{value.bit_length()}"
    ),
)
def test_an_id_of_a_host_is_nothing_else(given: Any) -> None:
    """The same rule refuses all else, by the field's name and in a short message of one line."""
    from empirical_provider.checks import run_id  # noqa: PLC0415  # not a public name

    with pytest.raises(
        InvalidRequestError, match=r"^test_run_id must be the id of a test run"
    ) as no:
        run_id("test_run_id", given)
    assert str(no.value).isprintable()
    assert len(str(no.value)) < 250


class Branch(str, enum.Enum):  # noqa: UP042  # what this is about: str() gives its name
    MAIN = "main"


class Run(int, enum.Enum):
    FIRST = 456


def test_members_of_enumerations_are_sent_by_value(service: Service) -> None:
    """A text or number that is a member of an enumeration is sent as what it stands for."""
    heard = service.heard(lambda client: list(client.list_test_runs(branch=Branch.MAIN)))
    assert not isinstance(heard, str)
    assert heard.query["branch"] == "main"
    heard = service.heard(lambda client: client.get_test_run(Run.FIRST))
    assert not isinstance(heard, str)
    assert heard.path == "/api/test-runs/456"
    request = TestRunRequest(environment="staging", tags=[Branch.MAIN], total_shards=Run.FIRST)
    heard = service.heard(lambda client: client.trigger(request))
    assert not isinstance(heard, str)
    assert heard.body == {"environment": "staging", "tags": ["main"], "total_shards": 456}


@pytest.mark.parametrize("seconds", [10**400, 1e300, 10**10, float("inf"), float("nan"), -1, True])
@pytest.mark.parametrize("field", ["timeout", "poll_interval", "start_timeout"])
def test_no_clock_is_given_what_it_cannot_count(
    field: str, seconds: float, service: Service
) -> None:
    """A time beyond what clocks and sleeps take is refused by name, before the first look."""
    service.emulator.reset()
    with pytest.raises(InvalidRequestError, match=f"^{field} must be"):
        wait_for_test_run(service.client, 456, **{field: seconds})
    assert service.emulator.requests == []


@pytest.mark.parametrize("tag", ["@a,@b", ","])
def test_a_comma_is_not_taken_for_two_tags(tag: str, empirical: Emulator, ask: Twin) -> None:
    """Where the API lists by commas, a text with one is not asked for, and counts as unchecked."""
    report = ask.preflight(TestRunRequest(environment="staging", tags=[tag], test_case_ids=[tag]))
    assert report.unchecked == ("tags", "test_case_ids")
    assert [each.endpoint for each in empirical.requests] == ["list_environments"]


def test_a_query_that_is_too_long_is_not_sent_again(empirical: Emulator, ask: Twin) -> None:
    """A request that httpx cannot write is told as such at once: nothing was sent, none passes."""
    report = ask.preflight(TestRunRequest(environment="staging", tags=["@" + "a" * 70_000]))
    assert report.unchecked == ("tags",)
    assert ask.slept == []
    assert [each.endpoint for each in empirical.requests] == ["list_environments"]


@settings(max_examples=examples(60), deadline=None)
@given(text=anything)
def test_any_key_can_be_hashed_or_is_refused(text: str) -> None:
    """What a run is for may be any text; one that no UTF-8 can hold is refused by name."""
    request = TestRunRequest(environment="staging")
    try:
        made = TriggerKey.of(text, request, api_key="k")
    except InvalidRequestError as refusal:
        assert str(refusal).startswith("key must be")  # noqa: PT017  # either may be right
        assert not (utf8(text) and text.strip())
    else:
        assert TriggerKey.parse(str(made)) == made


def test_the_async_client_sends_the_same(service: Service) -> None:
    """The twin sends a hostile body to the byte, too: what is sent is made in one place."""
    text = "\u202e\U0001f469\u200d\U0001f467 {{ ds }} \\r\\n"

    async def trigger() -> TestRun:
        async with AsyncEmpiricalClient(
            api_key=KEY, base_url=service.emulator.url, project_slug="acme"
        ) as client:
            return await client.trigger(
                TestRunRequest(environment="staging", metadata={"m": text}, tags=["{{ ds }}"])
            )

    service.emulator.reset()
    assert asyncio.run(trigger()).state == TestRunState.QUEUED
    [request] = service.emulator.requests
    assert request.body == {"environment": "staging", "metadata": {"m": text}, "tags": ["{{ ds }}"]}
