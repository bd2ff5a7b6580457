"""Both blocks where they are copied, subclassed, or stored by another release."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.states import Cancelling
from pydantic import SecretStr, ValidationError

from empirical_provider import __version__
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    cancel_test_runs_on_cancellation,
    trigger_test_run,
)


class TeamCredentials(EmpiricalCredentials):
    """A block of a user's, with a field of its own."""

    _block_type_name = "Team Credentials"
    _block_type_slug = "team-credentials"
    team: str


class Release(Block):
    """A block of a user's that holds a job."""

    _block_type_slug = "release-with-empirical"
    job: EmpiricalTestJob


@pytest.fixture
def prod(credentials: EmpiricalCredentials) -> EmpiricalCredentials:
    """Return a saved block."""
    credentials.model_copy(update={"project_id": 7}).save("copied", overwrite=True)
    return EmpiricalCredentials.load("copied")


def _copied(block: EmpiricalCredentials) -> EmpiricalCredentials:
    return block.model_copy(update={"project_id": 8})


def _assigned(block: EmpiricalCredentials) -> EmpiricalCredentials:
    block.project_id = 8
    return block


@pytest.mark.parametrize("changed", [_copied, _assigned])
def test_a_job_is_saved_with_the_values_of_a_changed_block(
    changed: Callable[[EmpiricalCredentials], EmpiricalCredentials], prod: EmpiricalCredentials
) -> None:
    """A block with other values than its document is stored by value: a reference has the old."""
    other = changed(prod)
    EmpiricalTestJob(credentials=other, environment="staging").save("other", overwrite=True)

    loaded = EmpiricalTestJob.load("other")
    assert other.saved_name is None
    assert (loaded.credentials.project_id, loaded.credentials.saved_name) == (8, None)


def test_a_copy_of_a_job_is_saved_with_its_values(credentials: EmpiricalCredentials) -> None:
    """The same holds for a job in a block of the user's."""
    EmpiricalTestJob(credentials=credentials, environment="staging").save("job", overwrite=True)
    job = EmpiricalTestJob.load("job")
    Release(job=job.model_copy(update={"environment": "production"})).save("x", overwrite=True)

    assert Release.load("x").job.environment == "production"


def test_a_changed_copy_can_be_saved_in_the_place_of_the_block(prod: EmpiricalCredentials) -> None:
    """A rotated key is saved under the name that the block has."""
    prod.model_copy(update={"api_key": SecretStr("rotated")}).save(overwrite=True)

    assert EmpiricalCredentials.load("copied").api_key == SecretStr("rotated")


def test_a_plain_copy_is_still_saved(prod: EmpiricalCredentials) -> None:
    """A copy with the same values is stored by reference."""
    EmpiricalTestJob(credentials=prod.model_copy(), environment="x").save("same", overwrite=True)

    assert EmpiricalTestJob.load("same").credentials.saved_name == "copied"


# Subclasses


def _of_the_team(credentials: EmpiricalCredentials, **fields: Any) -> TeamCredentials:
    same = {"api_key": credentials.api_key, "base_url": credentials.base_url}
    return TeamCredentials(**same, team="shop", **fields)


@pytest.mark.parametrize("alone", [True, False], ids=["saved alone", "saved in the job"])
def test_a_subclass_lives_in_a_job(
    alone: bool, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """Its further field comes back with the job, which runs in a flow."""
    team = _of_the_team(credentials)
    if alone:
        team.save("of-the-team", overwrite=True)
    job = EmpiricalTestJob(credentials=team, environment="staging", poll_interval=0.01)
    job.save("of-the-team", overwrite=True)

    @flow
    def release() -> dict[str, Any]:
        run = EmpiricalTestJob.load("of-the-team").trigger()
        run.wait_for_completion()
        return run.fetch_result()

    loaded = EmpiricalTestJob.load("of-the-team").credentials
    assert isinstance(loaded, TeamCredentials)
    assert loaded.team == "shop"
    assert release()["run_id"] == empirical.runs[0].id


def test_the_hook_cancels_with_the_block_of_the_right_type(
    credentials: EmpiricalCredentials, empirical: Emulator, server: SyncPrefectClient
) -> None:
    """Blocks of two types may have one name: the hook loads the one that has started the run."""
    credentials.model_copy(update={"project_id": 8}).save("twice", overwrite=True)
    team = _of_the_team(credentials, project_id=7)
    team.save("twice", overwrite=True)

    @flow
    def release() -> Any:
        return trigger_test_run(credentials=team, environment="staging")

    state = release(return_state=True)
    flow_run = server.read_flow_run(state.state_details.flow_run_id)
    asyncio.run(
        cancel_test_runs_on_cancellation(flow=release, flow_run=flow_run, state=Cancelling())
    )

    (cancel,) = [each for each in empirical.requests if each.endpoint == "cancel_test_run"]
    assert cancel.headers["x-project-id"] == "7"


# Documents of other releases


@pytest.fixture
def stored(
    credentials: EmpiricalCredentials, api_key: str, server: SyncPrefectClient
) -> Callable[..., None]:
    """Return a way to store a document with other fields than this release has."""

    def store(**fields: Any) -> None:
        credentials.save("stored", overwrite=True)
        document = server.read_block_document_by_name("stored", "empirical-credentials")
        data = {"api_key": api_key, "base_url": credentials.base_url, **fields}
        server.update_block_document(
            document.id, BlockDocumentUpdate(data=data, merge_existing_data=False)
        )

    return store


def test_an_older_worker_says_what_to_do(stored: Callable[..., None]) -> None:
    """A field of a newer release is rejected with the way out."""
    stored(region="eu")

    with pytest.raises(RuntimeError, match="Unable to load 'stored'") as caught:
        EmpiricalCredentials.load("stored")

    told = str(caught.value.__cause__)
    assert "unknown key 'region'" in told
    assert "newer release of empirical-provider has saved the block: install that" in told
    assert f"this is {__version__}" in told
    assert "validate=False" in told


@pytest.mark.parametrize("load", ["load", "aload"])
def test_a_newer_document_loads_without_validation(
    load: str, stored: Callable[..., None], empirical: Emulator
) -> None:
    """The field that is not known is left out, with a warning, and the block works."""
    stored(region="eu")

    def loaded() -> EmpiricalCredentials:
        if load == "load":
            return EmpiricalCredentials.load("stored", validate=False)
        return asyncio.run(EmpiricalCredentials.aload("stored", validate=False))

    with pytest.warns(UserWarning, match="does not know these fields of the block.*: region"):
        block = loaded()

    assert block.saved_name is None, "another process could not load it by its name"
    assert trigger_test_run.fn(credentials=block, environment="staging")["id"]
    assert len(empirical.runs) == 1


def test_a_job_with_a_newer_block_in_it_loads_without_validation(
    credentials: EmpiricalCredentials, server: SyncPrefectClient, stored: Callable[..., None]
) -> None:
    """What is not known is left out of the block in the job, too."""
    stored()
    credentials = EmpiricalCredentials.load("stored")
    EmpiricalTestJob(credentials=credentials, environment="staging").save("newer", overwrite=True)
    document = server.read_block_document_by_name("stored", "empirical-credentials")
    server.update_block_document(
        document.id, BlockDocumentUpdate(data={"region": "eu"}, merge_existing_data=True)
    )

    with pytest.raises(RuntimeError, match="Unable to load 'newer'"):
        EmpiricalTestJob.load("newer")
    with pytest.warns(UserWarning, match="leaves them out: region"):
        job = EmpiricalTestJob.load("newer", validate=False)

    assert job.credentials._client_options() == credentials._client_options()


@pytest.mark.parametrize("fields", [{"timeout": -1}, {"base_url": "nowhere"}, {"api_key": None}])
def test_a_document_that_is_not_valid_can_be_mended(
    fields: dict[str, Any], stored: Callable[..., None], api_key: str
) -> None:
    """Without validation the block has the values as they are, and no form of it shows the key."""
    stored(**fields)

    with pytest.warns(UserWarning, match="Unable to load 'stored'") as warned:
        block = EmpiricalCredentials.load("stored", validate=False)

    assert api_key not in f"{block!r} {block} {[str(each.message) for each in warned]}"
    ((name, value),) = fields.items()
    assert getattr(block, name) == value
    setattr(block, name, SecretStr(api_key) if name == "api_key" else None)
    block.save("stored", overwrite=True)
    assert EmpiricalCredentials.load("stored").api_key == SecretStr(api_key)


# Locations


@pytest.mark.parametrize(
    ("block", "fields", "location"),
    [
        (EmpiricalCredentials, {"base_ulr": "x"}, "base_ulr"),
        (EmpiricalCredentials, {"base_url": "nowhere"}, "base_url"),
        (EmpiricalCredentials, {"timeout": -1}, "timeout"),
        (EmpiricalCredentials, {"api_key": ""}, "api_key"),
        (EmpiricalTestJob, {"environment": " "}, "environment"),
        (EmpiricalTestJob, {"tags": [""]}, "tags"),
        (EmpiricalTestJob, {"policy": {"failed": "ignore"}}, "policy"),
        (EmpiricalTestJob, {"poll_interval": 0}, "poll_interval"),
    ],
)
def test_an_error_has_the_field_as_its_location(
    block: type[Block], fields: dict[str, Any], location: str, credentials: EmpiricalCredentials
) -> None:
    """Forms and Prefect find the field by the location of the error."""
    given = {
        EmpiricalCredentials: {"api_key": "k"},
        EmpiricalTestJob: {"credentials": credentials, "environment": "staging"},
    }
    with pytest.raises(ValidationError) as caught:
        block(**{**given[block], **fields})

    assert [each["loc"] for each in caught.value.errors()] == [(location,)]
