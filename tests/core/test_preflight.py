"""Before a release: what would keep its test run from starting is found, and nothing is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AuthenticationError,
    EmpiricalClient,
    InvalidRequestError,
    TestRunRequest,
    preflight,
)
from empirical_provider.emulator import Emulator
from empirical_provider.emulator.catalogue import row

if TYPE_CHECKING:
    from tests.core.conftest import Twin

KNOWN, UNKNOWN = row(0, "passed").pw_test_id, "0" * 20 + "-" + "f" * 20


def request(**fields: Any) -> TestRunRequest:
    return TestRunRequest(**{"environment": "staging", **fields})


def test_a_good_request_is_told_its_environment(empirical: Emulator, ask: Twin) -> None:
    """All that can be checked is right: the environment comes back, and no run was started."""
    wanted = request(tags=["@smoke", "@login"], test_case_ids=[KNOWN], build={"commit": "c0ffee"})
    report = ask.preflight(wanted)
    assert (report.environment.slug, report.unchecked) == ("staging", ())
    assert report.as_dict() == {
        "environment": {
            "id": report.environment.id,
            "slug": "staging",
            "name": "Staging",
            "is_default": False,
            "is_disabled": False,
        },
        "unchecked": [],
    }
    assert empirical.runs == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"environment": "stagign"},
            "environment 'stagign' is not known. Did you mean 'staging'? The project has producti",
        ),
        ({"environment": "Staging"}, "Did you mean 'staging'?"),
        ({"environment": "qa"}, "environment 'qa' is not known. The project has production, stagi"),
        ({"tags": ["@smoke", "@smok"]}, "tags has '@smok', which no test has."),
        ({"test_case_ids": [KNOWN, UNKNOWN]}, f"test_case_ids has '{UNKNOWN}', which no test has."),
        (
            {"environment": "prod", "tags": ["@x"]},
            "Did you mean 'production'? The project has production, staging. tags has '@x', which",
        ),
    ],
)
def test_what_is_wrong_is_named(
    fields: dict[str, Any], message: str, empirical: Emulator, ask: Twin
) -> None:
    """Whatever the service does not know is named, all of it at once, and no run was started."""
    with pytest.raises(InvalidRequestError) as caught:
        ask.preflight(request(**fields))
    assert str(caught.value).startswith("No test run could be started. ")
    assert message in str(caught.value)
    assert not caught.value.may_pass
    assert empirical.runs == []


@pytest.mark.parametrize("tag", ["smoke", "@smoke", "login", "@login"])
def test_either_spelling_of_a_tag_is_known(tag: str, ask: Twin) -> None:
    """Tags are requested with "@" and listed without it, or the other way round: both are found."""
    assert ask.preflight(request(tags=[tag])).unchecked == ()


@pytest.mark.parametrize("where", [{"branch": "next"}, {"build": {"branch": "next"}}])
def test_what_may_be_on_another_branch_is_unchecked(
    where: dict[str, Any], empirical: Emulator, ask: Twin
) -> None:
    """The service lists the tests of the default branch: what is missing there may be on the one
    that is tested, and what is there is checked."""
    report = ask.preflight(request(**where, tags=["@new"], test_case_ids=[KNOWN]))
    assert [each for each in report.unchecked if each != "branch"] == ["tags"]
    report = ask.preflight(request(**where, tags=["@smoke"], test_case_ids=[UNKNOWN]))
    assert [each for each in report.unchecked if each != "branch"] == ["test_case_ids"]
    assert empirical.runs == []


@pytest.mark.parametrize(
    ("slug", "known", "meant"),
    [
        ("STAGING", ["staging", "production"], "staging"),
        ("Stagging", ["staging"], "staging"),
        ("qa", ["staging"], None),
    ],
)
def test_the_nearest_environment_is_offered_where_one_is(
    slug: str, known: list[str], meant: str | None
) -> None:
    """A slip and another case of the letters lead to the one that was meant, if there is one."""
    with (
        Emulator(environments=known, api_keys=["emp-key-1"]) as service,
        EmpiricalClient(api_key="emp-key-1", base_url=service.url) as client,
        pytest.raises(InvalidRequestError) as caught,
    ):
        preflight(client, request(environment=slug))
    assert ("Did you mean" in str(caught.value)) == (meant is not None)
    if meant is not None:
        assert f"Did you mean {meant!r}?" in str(caught.value)


def test_a_disabled_environment_is_refused(empirical: Emulator, ask: Twin) -> None:
    """An environment that is switched off is named as such, and not offered."""
    empirical.behave(disabled_environments=["staging"])
    with pytest.raises(
        InvalidRequestError, match=r"environment 'staging' is disabled. The project has production."
    ):
        ask.preflight(request())


def test_more_ids_than_one_page_are_all_checked(empirical: Emulator, ask: Twin) -> None:
    """Ids are asked for a hundred at a time, so that the service leaves none out."""
    ids = [row(index % 40, "passed").pw_test_id for index in range(120)]
    ask.preflight(request(test_case_ids=ids))
    with pytest.raises(InvalidRequestError, match=UNKNOWN):
        ask.preflight(request(test_case_ids=[*ids, UNKNOWN]))
    asked = [each.endpoint for each in empirical.requests]
    assert asked.count("list_test_cases") == 4


@pytest.mark.parametrize("status", [404, 405, 500])
def test_what_cannot_be_checked_is_told(status: int, empirical: Emulator, ask: Twin) -> None:
    """A service that lists no test cases stops no release; the report says what it leaves open."""
    ask.settings["retry_for"] = 0
    empirical.fault("list_test_cases", "status", status=status, times=None)
    report = ask.preflight(request(tags=["@x"], test_case_ids=[UNKNOWN]))
    assert report.unchecked == ("tags", "test_case_ids")


def test_a_branch_cannot_be_checked(ask: Twin) -> None:
    """The API does not tell which branches there are, and the report says so."""
    assert ask.preflight(request(branch="main")).unchecked == ("branch",)


@pytest.mark.parametrize("endpoint", ["list_environments", "list_test_cases"])
def test_a_dead_key_is_found(endpoint: str, empirical: Emulator, ask: Twin) -> None:
    """A key that is not accepted stops the release, wherever that is seen."""
    empirical.fault(endpoint, "status", status=401, times=None)
    with pytest.raises(AuthenticationError):
        ask.preflight(request(tags=["@smoke"]))
