"""A person who fills in a block of ours, and takes the code that Prefect offers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob
from tests.deployment.browser.page import keep
from tests.deployment.browser.prefect.conftest import KEY, python

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from prefect.blocks.core import Block

    from empirical_provider.emulator import Emulator
    from tests.deployment.prefect.host import Deployment


UIS = {"v1": "", "v2": "/v2"}
"""Where Prefect's two browser interfaces are. The first is the one that opens by itself."""

CREDENTIALS = [
    "Api Key",
    "Base URL",
    "Project ID",
    "Project Slug",
    "Dashboard URL",
    "Timeout",
    "CA Bundle",
]
JOB = [
    "EmpiricalCredentials",
    "Environment",
    "Tags",
    "Policy",
    "Poll Interval",
    "Timeout",
    "Key In Environment",
    "On Retry After Red",
]
NOT_WORDS_OF_OURS = {
    *("string", "integer", "number", "array", "object", "null", "Format"),  # types, in v1
    *("str", "int", "float", "list", "dict", "None", 'Property is type "None"'),  # types, in v2
    *("Open menu", "Select a block...", "Add", "fail", ""),  # of the inputs
}


def form_text(page: Page, name_label: str) -> list[str]:
    """Return the lines of the form in sight, without those of its inputs."""
    lines = [line.strip() for line in page.inner_text("body").replace("(Optional)", "").split("\n")]
    inside = lines[lines.index(name_label) + 1 : lines.index("Cancel")]
    numbers = [line for line in inside if line.isdigit()]  # of the lines in an editor
    return [line for line in inside if line not in {*NOT_WORDS_OF_OURS, *numbers}]


@pytest.mark.parametrize("ui", UIS)
@pytest.mark.parametrize(
    ("block", "labels"),
    [(EmpiricalCredentials, CREDENTIALS), (EmpiricalTestJob, JOB)],
    ids=["credentials", "job"],
)
@pytest.mark.usefixtures("releases")
@pytest.mark.scenario("browser: form of the blocks, {ui}")
def test_the_form_shows_our_fields_and_what_they_mean(
    page: Page, prefect: Deployment, block: type[Block], labels: list[str], ui: str
) -> None:
    """The form for a block has each of our fields under its label, with our words about it."""
    address = prefect.url.removesuffix("/api")
    page.goto(f"{address}{UIS[ui]}/blocks/catalog/{block.get_block_type_slug()}/create")
    expect(page.get_by_text(labels[-1]).first).to_be_visible()
    expect(page.get_by_role("heading", name=block.get_block_type_name())).to_be_visible()

    descriptions = [str(field.description) for field in block.model_fields.values()]
    expected = [words for pair in zip(labels, descriptions, strict=True) for words in pair]
    shown = form_text(page, "Block Name" if ui == "v1" else "Name")
    if ui == "v1" and block is EmpiricalTestJob:
        # Of a block in a block, it tells what the block is, instead of what it is for.
        shown[1 : shown.index(labels[1])] = descriptions[:1]
    assert shown == expected
    keep(page, f"prefect-{block.get_block_type_slug()}-form-{ui}")


@pytest.mark.parametrize(
    ("name", "shown", "environment"),
    [("prod", "********", "staging"), ("smoke", "Environment", "production")],
    ids=["prod", "smoke"],
)
@pytest.mark.usefixtures("releases")
@pytest.mark.scenario("browser: the code offered for block {name} runs")
def test_the_code_that_is_offered_for_a_block_runs(
    page: Page, prefect: Deployment, shop: Emulator, *, name: str, shown: str, environment: str
) -> None:
    """The code on a saved block's page, copied as it is, starts a test run; no key is in sight."""
    address = prefect.url.removesuffix("/api")
    offered = []
    for ui, path in UIS.items():
        page.goto(f"{address}{path}/blocks")
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_text("Paste this snippet")).to_be_visible()
        expect(page.get_by_text(shown, exact=True).last).to_be_visible()
        assert KEY not in page.content()
        keep(page, f"prefect-block-{name}-{ui}")
        page.get_by_role("button", name="copy").click()
        offered.append(str(page.evaluate("navigator.clipboard.readText()")))
    assert offered[0].strip() == offered[1].strip()
    assert f'.load("{name}")' in offered[0]

    before = len(shop.runs)
    python(prefect, "-c", offered[0])
    [run] = shop.runs[before:]
    assert run.environment == environment
