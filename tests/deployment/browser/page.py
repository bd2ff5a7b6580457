"""A browser as a person has it: what it shows is asserted on, and kept as a picture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    BrowserContext,
    FloatRect,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

PICTURES = Path(os.environ.get("EMPIRICAL_SCREENSHOTS", Path(__file__).parents[3] / ".screenshots"))
PATIENCE = 45_000
"""Milliseconds that a page may take to show something, on a machine that a host keeps busy."""

_LOOKS = 6
_PAUSE = 400
"""Milliseconds in which a page that has settled looks the same."""

_HERE = {"127.0.0.1", "localhost"}
_OPTIONS = [
    "--no-sandbox",  # tests in containers run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browsing() -> Iterator[BrowserContext]:
    """Return a browser without a network beyond this machine."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("These tests need chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=_OPTIONS)
        try:
            # Permissions as a person would give them: what a button copies is read back.
            context = browser.new_context(
                viewport={"width": 1280, "height": 800},
                device_scale_factor=1,
                permissions=["clipboard-read", "clipboard-write"],
            )
            context.set_default_timeout(PATIENCE)
            context.route("**/*", _stay_here)
            yield context
        finally:
            browser.close()


def _stay_here(route: Route) -> None:
    if urlsplit(route.request.url).hostname in _HERE:
        route.continue_()
    else:
        route.abort()


def keep(page: Page, name: str, part: FloatRect | None = None) -> None:
    """Keep what is in sight as a picture, as soon as it holds still.

    Args:
        page: The page.
        name: Name of the picture.
        part: What of it is kept, in pixels; default: all.
    """
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)  # what is under the mouse would look different, and may have a tooltip
    before = b""
    for _ in range(_LOOKS):  # a page that counts seconds never does for long
        now = page.screenshot(animations="disabled", scale="css", clip=part)
        if now == before:
            break
        before = now
        page.wait_for_timeout(_PAUSE)
    (PICTURES / f"{name}.png").write_bytes(before)


def bring_up(element: Locator) -> None:
    """Scroll as little as needed to have an element at the lower end of what is in sight."""
    element.evaluate("element => element.scrollIntoView({block: 'end', behavior: 'instant'})")


def opens_report(link: Locator, run_id: int, *, in_new_tab: bool = True) -> None:
    """Click a link, expect the page of a test run, and return from there."""
    page = report = link.page
    if in_new_tab:
        with page.context.expect_page() as opened:
            link.click()
        report = opened.value
    else:
        link.click()
    expect(report).to_have_title(f"Test run {run_id}")
    expect(report.get_by_role("heading", level=1)).to_have_text(f"Test run {run_id}")
    if in_new_tab:
        report.close()
    else:
        page.go_back()
