"""The block: what it accepts, what it refuses, how it is stored, sent and used."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.utilities.hashing import hash_objects
from pydantic import SecretStr, ValidationError

from empirical_provider import AuthenticationError, InvalidRequestError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob, trigger_test_run

if TYPE_CHECKING:
    from conftest import Twin

KEY = "emp-key-that-must-not-show"


class TestBlockStandard(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        """Run Prefect's own suite for blocks on ours."""
        return EmpiricalCredentials


class _Pipeline(Block):
    """A block of a user's that holds ours."""

    _block_type_slug = "pipeline-with-empirical"
    credentials: EmpiricalCredentials


def _story_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)


def test_the_names_that_users_databases_hold_are_pinned() -> None:
    """A renamed slug or field would break every saved block."""
    assert EmpiricalCredentials.get_block_type_slug() == "empirical-credentials"
    assert EmpiricalCredentials.get_block_type_name() == "Empirical Credentials"
    assert list(EmpiricalCredentials.model_fields) == [
        "api_key",
        "base_url",
        "project_id",
        "project_slug",
        "dashboard_url",
        "timeout",
        "ca_bundle",
    ]


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field is an error that lists the known ones and does not show the key."""
    with pytest.raises(ValidationError) as caught:
        EmpiricalCredentials(api_key=KEY, base_ulr="https://dash.empirical.run")

    assert "unknown key 'base_ulr'; known are api_key, base_url, project_id" in str(caught.value)
    assert "Did you mean 'base_url'?" in str(caught.value)
    assert KEY not in _story_of(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "http://api.example.com"}, "base_url must use https"),
        ({"base_url": "https://me:pw@example.com"}, "base_url must not hold credentials"),
        ({"dashboard_url": "nowhere"}, "dashboard_url must be an http or https URL"),
        ({"project_id": 0}, "project_id must be at least 1, not 0"),
        ({"project_id": "seven"}, "valid integer"),
        ({"timeout": -1}, "timeout must be a number above 0, not -1.0"),
        ({"api_key": ""}, "api_key must be a non-empty string"),
        ({"api_key": f"{KEY} "}, "api_key must be visible ASCII characters only"),
        ({"api_key": "**********"}, "not a masked one"),
        ({"api_key": [KEY]}, "valid string"),
    ],
)
@pytest.mark.parametrize("make", [EmpiricalCredentials.model_validate, "call"])
def test_a_bad_value_is_refused_when_the_block_is_made(
    make: Any, fields: dict[str, Any], words: str
) -> None:
    """The core's own words say what is wrong, and no form of the error shows the key."""
    given = {"api_key": KEY, **fields}

    with pytest.raises(ValidationError) as caught:
        EmpiricalCredentials(**given) if make == "call" else make(given)

    assert words in str(caught.value)
    assert KEY not in _story_of(caught.value)


def test_the_key_is_masked() -> None:
    """Neither str, repr nor JSON of a block shows the key."""
    block = EmpiricalCredentials(api_key=KEY)

    assert KEY not in f"{block} {block!r} {block.model_dump()} {block.model_dump_json()}"


@pytest.mark.parametrize("load", ["load", "aload"])
def test_a_saved_block_loads_with_every_field(load: str) -> None:
    """What was saved comes back, the key in plain text, through either form of load."""
    saved = EmpiricalCredentials(
        api_key=KEY,
        base_url="https://api.empirical.run",
        project_id=7,
        project_slug="acme",
        dashboard_url="https://empirical.run",
        timeout=3.5,
        ca_bundle="/etc/of/the/worker.pem",
    )
    saved.save("full", overwrite=True)

    if load == "load":
        loaded = EmpiricalCredentials.load("full")
    else:
        loaded = asyncio.run(EmpiricalCredentials.aload("full"))

    assert loaded._client_options() == saved._client_options()
    assert loaded.api_key.get_secret_value() == KEY


def test_a_nested_block_loads() -> None:
    """The block works as a part of another one, saved on its own or not, and by its type alone."""
    credentials = EmpiricalCredentials(api_key=KEY, project_id=7)
    _Pipeline(credentials=credentials).save("with-unsaved", overwrite=True)
    credentials.save("alone", overwrite=True)
    _Pipeline(credentials=EmpiricalCredentials.load("alone")).save("with-saved", overwrite=True)

    for name in ("with-unsaved", "with-saved"):
        assert _Pipeline.load(name).credentials._client_options() == credentials._client_options()
    assert isinstance(Block.load("empirical-credentials/alone"), EmpiricalCredentials)


def test_a_dumped_block_can_be_made_again() -> None:
    """What Prefect adds to a dump is no unknown field: blocks travel between processes that way."""
    EmpiricalCredentials(api_key=KEY).save("dumped", overwrite=True)
    dump = EmpiricalCredentials.load("dumped").model_dump(context={"include_secrets": True})

    assert {"block_type_slug", "_block_document_id", "_block_document_name"} <= dump.keys()
    assert EmpiricalCredentials.model_validate(dump).api_key == SecretStr(KEY)


def _saved(name: str, **fields: Any) -> EmpiricalCredentials:
    EmpiricalCredentials(api_key=KEY, project_id=7, **fields).save(name, overwrite=True)
    return EmpiricalCredentials.load(name)


def _just_saved() -> EmpiricalCredentials:
    block = EmpiricalCredentials(api_key=KEY, project_id=7)
    block.save("just-saved", overwrite=True)
    return block


def _assigned() -> EmpiricalCredentials:
    block = _saved("assigned")
    block.project_id = 8
    return block


def _nested_unsaved() -> EmpiricalCredentials:
    _Pipeline(credentials=EmpiricalCredentials(api_key=KEY)).save("nesting", overwrite=True)
    return _Pipeline.load("nesting").credentials


def _nested_saved() -> EmpiricalCredentials:
    _Pipeline(credentials=_saved("nested")).save("nesting-saved", overwrite=True)
    return _Pipeline.load("nesting-saved").credentials


SAVED: dict[str, Callable[[], EmpiricalCredentials]] = {
    "loaded": lambda: _saved("loaded"),
    "just saved": _just_saved,
    "nested": _nested_saved,
    "copied": lambda: _saved("copied").model_copy(),
    "deeply copied": lambda: copy.deepcopy(_saved("copied")),
}
UNSAVED: dict[str, Callable[[], EmpiricalCredentials]] = {
    "made": lambda: EmpiricalCredentials(api_key=KEY),
    "nested": _nested_unsaved,
    "copied with another key": lambda: _saved("changed").model_copy(
        update={"api_key": SecretStr("another")}
    ),
    "assigned": _assigned,
}


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync", "in a loop"])
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED)
def test_a_saved_block_travels_as_its_name(
    make: Callable[[], EmpiricalCredentials], dumps: Callable[[Any], bytes], in_loop: bool
) -> None:
    """Its pickle holds no key, and loads the block again on the other side."""
    block = make()
    sent = dumps({"credentials": block})

    async def load() -> Any:
        return pickle.loads(sent)

    found = asyncio.run(load()) if in_loop else pickle.loads(sent)
    assert KEY.encode() not in sent
    assert block.saved_name
    assert found["credentials"]._client_options() == block._client_options()
    assert found["credentials"].saved_name == block.saved_name


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("make", UNSAVED.values(), ids=UNSAVED)
def test_a_block_that_is_not_saved_as_it_is_does_not_travel(
    make: Callable[[], EmpiricalCredentials], dumps: Callable[[Any], bytes]
) -> None:
    """It has no name to travel as, and its key is not written: the error says what to do."""
    block = make()
    assert block.saved_name is None
    with pytest.raises(InvalidRequestError) as caught:
        dumps({"credentials": block})
    assert "Save it with `block.save('NAME')`" in str(caught.value)
    assert KEY not in _story_of(caught.value)


def test_a_job_travels_as_far_as_its_credentials_do() -> None:
    """A job is pickled with its fields, and the block in it as its name."""
    job = EmpiricalTestJob(credentials=_saved("of-the-job"), environment="staging", tags=["smoke"])
    sent = pickle.dumps(job)
    assert KEY.encode() not in sent
    again = pickle.loads(sent)
    assert (again.environment, again.tags) == ("staging", ["smoke"])
    assert again.credentials._client_options() == job.credentials._client_options()
    with pytest.raises(InvalidRequestError, match="EmpiricalCredentials block cannot be sent"):
        pickle.dumps(job.model_copy(update={"credentials": EmpiricalCredentials(api_key=KEY)}))


def test_a_block_that_does_not_travel_is_still_copied_and_hashed() -> None:
    """What stays in this process needs no name: copies, and Prefect's hash of a task's inputs."""
    block = EmpiricalCredentials(api_key=KEY)
    assert copy.copy(block) == copy.deepcopy(block) == block
    assert hash_objects({"credentials": block}, raise_on_failure=True)


@pytest.mark.parametrize("form", ["reloaded", "areloaded"])
def test_a_block_that_was_changed_meanwhile_is_seen(form: str) -> None:
    """A rotated key is found under the block's name; a block that is the same, unsaved or gone is
    none."""

    def again(block: EmpiricalCredentials) -> EmpiricalCredentials | None:
        found = getattr(block, form)()
        return asyncio.run(found) if form == "areloaded" else found

    block = _saved("rotated")
    assert again(block) is None
    EmpiricalCredentials(api_key="rotated", project_id=7).save("rotated", overwrite=True)
    found = again(block)
    assert found is not None
    assert found.api_key == SecretStr("rotated")
    assert again(EmpiricalCredentials(api_key=KEY)) is None
    EmpiricalCredentials.delete("rotated")
    assert again(block) is None


def test_a_wait_goes_on_with_a_key_that_was_rotated(
    waiting: Twin, empirical: Emulator, api_key: str
) -> None:
    """Where the key is rejected and the saved block has changed since, the wait goes on by what the
    block says now; where it has not, the rejection is the end."""
    block = EmpiricalCredentials(api_key=api_key, base_url=empirical.url)
    run = trigger_test_run.fn(credentials=block, environment="staging")
    EmpiricalCredentials(api_key="deleted", base_url=empirical.url).save("rotating", overwrite=True)
    old = EmpiricalCredentials.load("rotating")
    call = {"credentials": old, "test_run_id": run["id"], "poll_interval": 0.01}
    with pytest.raises(AuthenticationError):
        waiting.without_prefect(**call)
    block.save("rotating", overwrite=True)
    assert waiting.without_prefect(**call)["outcome"] == "passed"


def test_a_bad_document_is_refused_on_load(server: SyncPrefectClient) -> None:
    """A field written past this class, for example by hand, is named when the block is loaded."""
    EmpiricalCredentials(api_key=KEY).save("bad", overwrite=True)
    document = server.read_block_document_by_name("bad", "empirical-credentials")
    server.update_block_document(
        document.id, BlockDocumentUpdate(data={"api_key": KEY, "project": 7})
    )

    with pytest.raises(RuntimeError, match="Unable to load 'bad'") as caught:
        EmpiricalCredentials.load("bad")

    assert "unknown key 'project'" in str(caught.value.__cause__)
    assert KEY not in _story_of(caught.value)


@pytest.mark.parametrize("kind", ["get_client", "get_async_client"])
def test_clients_take_everything_from_the_block(
    kind: str, empirical: Emulator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks the block's address with its key and project id, within its time limit."""
    monkeypatch.setenv("EMPIRICALRUN_KEY", "of-the-process")
    block = EmpiricalCredentials(
        api_key=api_key, base_url=empirical.url, project_id=7, project_slug="shop", timeout=2
    )

    if kind == "get_client":
        with block.get_client() as client:
            client.list_environments()
    else:

        async def ask() -> None:
            async with block.get_async_client() as client:
                await client.list_environments()

        asyncio.run(ask())
        client = block.get_async_client()
    (asked,) = empirical.requests
    assert asked.headers["x-project-id"] == "7"
    assert client._settings.timeouts.trigger == 2
    assert client._settings.project_slug == "shop"


@pytest.mark.parametrize("empty", [None, ""])
def test_what_is_left_empty_has_our_default(
    empty: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the process does not change what a block means; '' is a form's None."""
    monkeypatch.setenv("EMPIRICAL_BASE_URL", "https://elsewhere.example.com")
    block = EmpiricalCredentials(
        api_key=KEY, base_url=empty, project_slug=empty, dashboard_url=empty, ca_bundle=empty
    )

    with block.get_client() as client:
        assert client._settings.base_url == "https://dash.empirical.run"
        assert client._settings.dashboard_url == "https://dash.empirical.run"
        assert client._settings.project_slug is None
        assert client._settings.timeouts.trigger == 60
