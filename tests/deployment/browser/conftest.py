"""One browser for the session, and a fresh page for each test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.deployment.browser.page import browsing, keep

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from playwright.sync_api import BrowserContext, Page

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which test failed, for its page."""
    del call
    report = yield
    item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """Return the browser."""
    with browsing() as context:
        yield context


@pytest.fixture
def page(browser: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Return a page; what it showed last is kept when its test fails."""
    page = browser.new_page()
    yield page
    if request.node.stash.get(_FAILED, False):
        keep(page, "failed-" + re.sub(r"\W+", "-", request.node.name))
    page.close()
