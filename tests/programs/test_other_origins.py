"""Chromium, and the aggregator on its machine, with pages of other origins and host names."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.browser import running_browser
from support.events import published
from support.load import session
from support.processes import Aggregator

if TYPE_CHECKING:
    from playwright.async_api import Browser

Run = Callable[..., Aggregator]

ATTACK = """async ([url, body]) => {
  const sent = [];
  for (const content of [body, new Blob([body]), new Blob([body], { type: "text/plain" })])
    sent.push(fetch(`${url}/publish`, { method: "POST", mode: "no-cors", body: content }));
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.name = "frame";
  const form = document.body.appendChild(document.createElement("form"));
  Object.assign(form, {
    method: "POST", action: `${url}/publish`, enctype: "text/plain", target: "frame",
  });
  // What a form sends as text has one "=", which a string of JSON can hold.
  const field = form.appendChild(document.createElement("input"));
  field.name = body.slice(0, -1) + ', "payload": {"x": "';
  field.value = '"}}';
  form.submit();
  await Promise.all(sent);
}"""
READ = """async (url) => {
  try { return (await (await fetch(`${url}/stats`)).json()).received ?? null; }
  catch (error) { return error.name; }
}"""
FOLLOW = """(url) => new Promise((resolve) => {
  const stream = new EventSource(`${url}/events?topic=orders&from=start`);
  stream.onmessage = ({ data }) => { stream.close(); resolve(JSON.parse(data).event_id); };
  stream.onerror = () => resolve(stream.readyState === EventSource.CLOSED ? "refused" : "cut");
})"""
PUBLISH = """async ([url, body]) => {
  const headers = { "Content-Type": "application/json" };
  try {
    const answer = await fetch(`${url}/publish`, { method: "POST", headers, body });
    return [answer.status, answer.headers.has("X-Request-ID")];
  } catch (error) { return error.name; }
}"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator["Browser"]:
    """One for all tests."""
    async with running_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pages() -> AsyncIterator[str]:
    """Another server on this machine, whose pages are empty."""

    async def give(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", give)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


def body(event_id: str) -> str:
    return json.dumps(published(event_id=event_id))


async def received(url: str) -> int:
    async with session() as client, client.get(f"{url}/stats") as answer:
        events: int = (await answer.json())["received"]
    return events


async def statuses(aggregator: Aggregator, path: str, count: int) -> list[int]:
    """The statuses of the requests for a path, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            lines = [each for each in aggregator.log_lines("request") if each["path"] == path]
            if len(lines) >= count:
                return [each["status"] for each in lines]
            await asyncio.sleep(0.02)


async def test_page_of_another_origin_neither_publishes_nor_reads_nor_follows(
    browser: "Browser", pages: str, run_aggregator: Run
) -> None:
    aggregator = run_aggregator()
    page = await browser.new_page()
    try:
        await page.goto(pages)
        await page.evaluate(ATTACK, [aggregator.url, body("e-1")])
        assert await statuses(aggregator, "/publish", 4) == [403] * 4
        assert await page.evaluate(PUBLISH, [aggregator.url, body("e-2")]) == "TypeError"
        assert await page.evaluate(READ, aggregator.url) == "TypeError"
        assert await page.evaluate(FOLLOW, aggregator.url) == "refused"
    finally:
        await page.close()
    assert await received(aggregator.url) == 0


async def test_page_of_an_allowed_origin_publishes_reads_and_follows(
    browser: "Browser", pages: str, run_aggregator: Run
) -> None:
    aggregator = run_aggregator("--allow-origin", pages)
    page = await browser.new_page()
    try:
        await page.goto(pages)
        assert await page.evaluate(PUBLISH, [aggregator.url, body("e-1")]) == [200, True]
        assert await page.evaluate(PUBLISH, [aggregator.url, "{"]) == [400, True]
        assert await page.evaluate(READ, aggregator.url) == 1
        assert await page.evaluate(FOLLOW, aggregator.url) == "e-1"
    finally:
        await page.close()


async def test_page_of_a_host_name_that_was_turned_to_this_machine_is_refused(
    browser: "Browser", run_aggregator: Run, tmp_path: Path
) -> None:
    for name, expected in [
        ("refused.db", [403, [403, True], None, "refused"]),
        ("served.db", [200, [200, True], 1, "e-1"]),
    ]:
        arguments = ["--database", str(tmp_path / name)]
        if name == "served.db":
            arguments += ["--allowed-host", "evil.test"]
        aggregator = run_aggregator(*arguments)
        url = f"http://evil.test:{urlsplit(aggregator.url).port}"
        page = await browser.new_page()
        try:
            # A page of that origin, whatever it says; it asks from where a page of this machine is.
            document = await page.goto(f"{url}/health")
            assert document is not None
            found = [
                document.status,
                await page.evaluate(PUBLISH, [url, body("e-1")]),
                await page.evaluate(READ, url),
                await page.evaluate(FOLLOW, url),
            ]
        finally:
            await page.close()
        assert found == expected
        assert await received(aggregator.url) == (expected[2] or 0)
