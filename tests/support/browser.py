"""Chromium, driven by Playwright, with pages of the tests in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from support.programs import browser

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

_FLAGS = [
    "--no-sandbox",  # which it can't have as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # It is to talk with nobody but the aggregator.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A foreign name that leads here.
    "--host-resolver-rules=MAP evil.test 127.0.0.1",
]
_LIMIT_MS = 30_000


@asynccontextmanager
async def running_browser() -> AsyncIterator["Browser"]:
    """A headless Chromium: the one that CHROMIUM names, that of the PATH, or Playwright's own."""
    try:
        # Every environment collects the tests, and one has Playwright.
        from playwright.async_api import async_playwright  # noqa: PLC0415
    except ImportError:
        pytest.fail("there is no Playwright: run `tox -e programs`", pytrace=False)

    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=browser(playwright.chromium.executable_path), args=_FLAGS
        )
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def open_page(chromium: "Browser", url: str, html: str) -> AsyncIterator["Page"]:
    """A page of the origin of `url`, beside the paths of the aggregator that is there.

    Whatever else the page asks for goes to the real server.
    """
    address = urljoin(f"{url}/", "page.html")

    async def give(route: "Route") -> None:
        await route.fulfill(content_type="text/html", body=html)

    context = await chromium.new_context()
    try:
        context.set_default_timeout(_LIMIT_MS)
        await context.route(address, give)
        page = await context.new_page()
        await page.goto(address)
        yield page
    finally:
        await context.close()
