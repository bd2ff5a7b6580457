"""A person who connects Airflow to Empirical: the form, and the button that tests it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.deployment.airflow.host import AIRFLOW
from tests.deployment.browser.airflow.conftest import KEY
from tests.deployment.browser.page import keep

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from empirical_provider.emulator import Emulator
    from tests.deployment.airflow.host import Deployment


CONNECTED = "Connected to Empirical; environments: staging, nightly."
SUCCESS, FAILURE = "Test Connection Successful", "Test Connection Failed"

MESSAGES = {
    "good": (SUCCESS, CONNECTED),
    "wrong-key": (
        FAILURE,
        (
            "Could not list the environments: GET 127.0.0.1:{port}/api/environments/list answered "
            '401: "Invalid or missing API key". Check that the API key is right, and neither '
            "deleted nor disabled in the dashboard."
        ),
    ),
    "dead-host": (
        FAILURE,
        (
            "Could not list the environments: GET 127.0.0.1:{port}/api/environments/list could not "
            "connect (ConnectError: [Errno 111] Connection refused). Nothing was acted on. Check "
            "the base URL, the network and the proxy settings."
        ),
    ),
}
STANDARD = ["Description", "Base URL", "API key"]
EXTRA = {
    "Project id": "Needed only when the API key is not bound to one project.",
    "Project slug": "As in the dashboard's URLs; looked up when left empty.",
    "Dashboard URL": "Where test runs are shown; derived from the base URL when left empty.",
    "Default environment": "Slug of the environment for tasks that name none.",
    "Request timeout (s)": (
        "Seconds one request may take; default: 60 to start a run, 15 otherwise."
    ),
    "CA bundle": "Path of a PEM file with the authorities to trust instead of public ones.",
}


def form(page: Page, deployment: Deployment, connection_id: str) -> Locator:
    """Open the form for a new connection of our type."""
    page.goto(f"{deployment.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(connection_id)
    form.get_by_role("combobox", name="Connection Type").fill("Empirical")
    page.get_by_role("option", name="Empirical", exact=True).click()
    expect(form.get_by_label("Base URL")).to_be_visible()
    return form


def fields(form: Locator) -> list[list[str]]:
    """Return the fields in sight, each as its label and the words below it."""
    inputs = form.page.get_by_role("textbox").or_(form.page.get_by_role("spinbutton"))
    groups = form.get_by_role("group").filter(has=inputs)
    texts = [group.inner_text().replace("*", "").split("\n") for group in groups.all()]
    return [[line.strip() for line in lines if line.strip()] for lines in texts]


def pressed(page: Page, connection_id: str) -> Locator:
    """Press the button that tests a saved connection; return what pops up."""
    name = page.get_by_role("cell", name=connection_id, exact=True)
    row = page.get_by_role("row").filter(has=name)
    row.get_by_role("button", name="Test Connection").click()
    answer = page.get_by_role("status").filter(has_text="Test Connection")
    expect(answer).to_be_visible()
    return answer


@pytest.mark.scenario("browser: the connection's form")
def test_the_form_shows_our_fields_and_no_others(page: Page, deployment: Deployment) -> None:
    """The form for a connection has our labels and hints, and none that mean nothing to us."""
    shown = form(page, deployment, "empirical_shop")

    assert [label for label, *_ in fields(shown)] == ["Connection ID", *STANDARD]
    key = shown.get_by_label("API key")
    expect(key).to_have_attribute("type", "password")
    expect(key).to_have_attribute("placeholder", "made in the dashboard: Settings, API keys")
    expect(shown.get_by_label("Base URL")).to_have_attribute(
        "placeholder", "https://dash.empirical.run"
    )
    keep(page, "airflow-connection-form")

    shown.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(shown.get_by_text("Request timeout (s)", exact=True)).to_be_visible()
    expect(shown.get_by_label("API key")).to_be_hidden()
    assert fields(shown) == [["Connection ID"], *([*each] for each in EXTRA.items())]
    keep(page, "airflow-connection-extras")


@pytest.mark.scenario("browser: a connection made in the form")
def test_a_connection_made_in_the_form_works(
    page: Page, deployment: Deployment, shop: Emulator
) -> None:
    """What the form saves, empty extras included, is a connection that works.

    Airflow 3.3 refuses to test it by the button, as it would any without a port (apache/airflow
    #73298, mended in 3.4): there it is tested by the request that the button should have sent.
    """
    shown = form(page, deployment, "empirical_by_hand")
    shown.get_by_label("API key").fill(KEY)
    shown.get_by_label("Base URL").fill(shop.url)
    shown.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Create Connection")).to_be_visible()

    answer = pressed(page, "empirical_by_hand")
    if AIRFLOW == (3, 3):
        expect(answer).to_have_text(f"{FAILURE}Bad Request")
        tested = deployment.api(
            "POST",
            "/api/v2/connections/test",
            {"connection_id": "empirical_by_hand", "conn_type": "empirical"},
        )
        assert tested == {"status": True, "message": CONNECTED}
    else:
        expect(answer).to_have_text(f"{SUCCESS}{CONNECTED}")


@pytest.mark.parametrize("case", MESSAGES)
@pytest.mark.scenario("browser: testing a connection, {case}")
def test_the_test_button_says_what_we_found(
    page: Page, deployment: Deployment, shop: Emulator, case: str
) -> None:
    """A person who tests a connection reads our own words about it, and never the key."""
    port = 9 if case == "dead-host" else int(shop.url.rpartition(":")[2])  # 9: nobody listens
    key = f"wrong-{KEY}" if case == "wrong-key" else KEY
    # The port is stored by itself: see the test before.
    deployment.connect(case, password=key, host="http://127.0.0.1", port=port)
    page.goto(f"{deployment.url}/connections")

    title, message = MESSAGES[case]
    expect(pressed(page, case)).to_have_text(f"{title}{message.format(port=port)}")
    assert KEY not in page.content()
    keep(page, f"airflow-connection-{case}")
