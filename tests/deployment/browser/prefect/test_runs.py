"""A person who looks at a flow run: its state, its verdict's page, and the way to the test run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from playwright.sync_api import FloatRect, expect

from tests.deployment.browser.page import bring_up, keep, opens_report
from tests.deployment.browser.prefect.test_blocks import UIS

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from empirical_provider.emulator import Emulator
    from tests.deployment.prefect.host import Deployment


COUNTS = {
    "tests total": "48",
    "tests passed": "46",
    "tests failed": "2",
    "tests failed after snoozing": "2",
    "tests skipped": "0",
    "tests flaky": "0",
}
FAILED = [
    "checkout.spec.ts > shows the page to a signed-in user",
    "login.spec.ts > shows the page to a signed-in user",
]


def run_in(shop: Emulator, environment: str) -> int:
    """Return the id of the first test run in an environment."""
    return next(run.id for run in shop.runs if run.environment == environment)


@pytest.mark.parametrize("colour", ["red", "green"])
@pytest.mark.parametrize("ui", UIS)
@pytest.mark.scenario("browser: state of a {colour} flow run, {ui}")
def test_the_flow_run_says_what_became_of_the_tests(
    page: Page,
    prefect: Deployment,
    shop: Emulator,
    releases: dict[str, str],
    *,
    ui: str,
    colour: str,
) -> None:
    """The message of a flow run's state names the test run and says how its tests went."""
    address = prefect.url.removesuffix("/api")
    with page.expect_response(re.compile("/graph-v2")):  # for the picture
        page.goto(f"{address}{UIS[ui]}/runs/flow-run/{releases[colour]}?tab=Details")
    told = {
        "red": f"test run {run_in(shop, 'staging')} in staging failed: 2 of 48 failed.",
        "green": f"test run {run_in(shop, 'production')} in production passed: 48 of 48.",
    }
    details = page.get_by_role("tabpanel", name="Details")
    if ui == "v1" and colour == "red":
        details.get_by_text("See More").click()
        details = page.locator("body")  # where a window opens
    message = details.get_by_text(told[colour]).last
    bring_up(message)
    expect(message).to_be_in_viewport()
    if colour == "red":
        for name in FAILED:
            expect(message).to_contain_text(name)
    keep(page, f"prefect-flow-run-{colour}-{ui}")


@pytest.mark.parametrize("ui", UIS)
@pytest.mark.scenario("browser: page of the verdict, {ui}")
def test_the_verdict_has_a_page(
    page: Page, prefect: Deployment, shop: Emulator, releases: dict[str, str], ui: str
) -> None:
    """The artifact of a gate tells outcome, counts and failed tests, and its link opens the run."""
    run_id = run_in(shop, "staging")
    artifact = prefect.artifact(UUID(releases["red"]), "empirical-verdict")
    address = prefect.url.removesuffix("/api")
    page.goto(f"{address}{UIS[ui]}/artifacts/artifact/{artifact.id}")

    title = f"Empirical test run {run_id} in staging failed: 2 of 48 failed."
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    for name, value in {"outcome": "failed", "gate": "fail", **COUNTS}.items():
        row = page.get_by_role("row", name=re.compile(rf"^{name} {value}$"))
        expect(row).to_be_visible()
    link = page.get_by_role("link", name="Open the test run")
    opens_report(link, run_id, in_new_tab=ui == "v1")
    expect(link).to_be_visible()

    bring_up(page.get_by_role("listitem").filter(has_text=".spec.ts").last)
    verdict: FloatRect = {"x": 257, "y": 44, "width": 620, "height": 756}
    keep(page, f"prefect-verdict-{ui}", part=verdict if ui == "v2" else None)


@pytest.mark.parametrize("ui", UIS)
@pytest.mark.scenario("browser: failed tests in the verdict, {ui}")
def test_the_verdict_names_the_failed_tests(
    page: Page, prefect: Deployment, releases: dict[str, str], ui: str
) -> None:
    """The failed tests are listed by their names, as they are written."""
    artifact = prefect.artifact(UUID(releases["red"]), "empirical-verdict")
    address = prefect.url.removesuffix("/api")
    page.goto(f"{address}{UIS[ui]}/artifacts/artifact/{artifact.id}")

    failed = page.get_by_role("listitem").filter(has_text=".spec.ts")
    expect(failed).to_have_count(len(FAILED))
    assert [text.strip() for text in failed.all_inner_texts()] == FAILED
