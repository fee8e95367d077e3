"""Chromium follows topics with `EventSource`, as docs/use/recipes.md shows it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from support.browser import open_page, running_browser
from support.load import (
    Told,
    batch_of,
    publish_until_taken,
    session,
    until_acknowledged,
    until_answer,
)
from support.processes import Aggregator
from support.proxies import proxied
from support.recipes import commands

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

Run = Callable[..., Aggregator]

(PAGE,) = commands("Following in a browser", "html")
(SCRIPT,) = commands("Following in a browser", "js")
LOG = "document.getElementById('log').textContent"
TOPICS = ["orders", "payments.eu"]

RECORDER = """<!doctype html><script>
  seen = [];
  ends = 0;
  const stream = new EventSource("events?topic=orders&from=start");
  for (const name of ["message", "position", "caught-up", "gap", "unavailable"])
    stream.addEventListener(name, ({ data, lastEventId }) => seen.push([name, lastEventId, data]));
  stream.onerror = () => ends++;
</script>"""
SIX_STREAMS = """<!doctype html><script>
  answered = false;
  streams = Array.from({ length: 6 }, () => new EventSource("events?topic=orders"));
</script>"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator["Browser"]:
    """One for all tests."""
    async with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An aggregator for the tests that need nothing of it but that it is there."""
    directory = tmp_path_factory.mktemp("shared")
    aggregator = Aggregator.start([], log=directory / "log", cwd=directory)
    yield aggregator.url
    aggregator.kill()


async def text_of(page: "Page", identity: str) -> str:
    text: str | None = await page.text_content(f"#{identity}")
    assert text is not None
    return text


async def until_text(page: "Page", identity: str, text: str) -> None:
    """Return once an element of the page has a text."""
    script = "([identity, text]) => document.getElementById(identity).textContent.includes(text)"
    await page.wait_for_function(script, arg=[identity, text])


async def seen(page: "Page") -> list[tuple[str, str, Any]]:
    """The type, the position and the content of each event; of a `message`, its `event_id`."""
    found = [
        (name, position, json.loads(data)) for name, position, data in await page.evaluate("seen")
    ]
    return [
        (name, position, data["event_id"] if name == "message" else data)
        for name, position, data in found
    ]


async def publish(url: str, event_id: str) -> None:
    async with session() as client:
        await publish_until_taken(client, url, batch_of("orders", [event_id]), Told())


@asynccontextmanager
async def publishing(url: str, told: Told) -> AsyncIterator[None]:
    """Publishes to all topics all the time, each event until it is acknowledged."""
    stopped = asyncio.Event()

    async def publish() -> None:
        async with session() as client:
            for number in itertools.count():
                if stopped.is_set():
                    return
                for topic in TOPICS:
                    await publish_until_taken(client, url, batch_of(topic, [f"e-{number}"]), told)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        stopped.set()
        await task


@pytest.mark.parametrize("kind", ["", "nginx", "haproxy"])
async def test_documented_page_misses_nothing_while_the_aggregator_is_killed_and_started_again(
    kind: str, browser: "Browser", run_aggregator: Run, tmp_path: Path
) -> None:
    database = ("--database", str(tmp_path / "log.db"))
    aggregator = run_aggregator(*database)
    port = str(urlsplit(aggregator.url).port)
    told = Told()
    front = proxied(kind, aggregator.url, tmp_path) if kind else nullcontext(aggregator.url)
    with front as url:
        async with open_page(browser, url, PAGE) as page:
            async with publishing(aggregator.url, told):
                await until_text(page, "state", "live")
                await until_text(page, "log", "payments.eu 20 ")
                aggregator.kill()
                if kind:
                    await until_text(page, "state", "no aggregator answers")
                began = told.requests
                run_aggregator(*database, "--port", port)
                await until_acknowledged(told, began + 20)
            await page.wait_for_function(f"{LOG}.split('\\n').length > {len(told.offsets)}")
            lines = (await text_of(page, "log")).splitlines()
    shown = [(topic, event_id, int(offset)) for topic, offset, event_id in map(str.split, lines)]
    for topic in TOPICS:
        in_order = [(event_id, offset) for name, event_id, offset in shown if name == topic]
        stored = {
            offset: event_id for (name, event_id), offset in told.offsets.items() if name == topic
        }
        assert in_order == [(stored[n + 1], n + 1) for n in range(len(stored))]
    assert len(shown) == len(told.offsets)


async def test_page_without_room_is_told_so_and_comes_back_by_itself(
    browser: "Browser", run_aggregator: Run
) -> None:
    url = run_aggregator("--max-streams", "1").url
    async with open_page(browser, url, PAGE) as first:
        await until_text(first, "state", "live")
        async with open_page(browser, url, PAGE) as second:
            await until_text(second, "state", "as many as may be")
            await first.close()
            await until_text(second, "state", "live")
            await publish(url, "e-1")
            await until_text(second, "log", "orders 1 e-1")


async def test_ends_of_life_and_heartbeats_make_no_events_and_a_gap_makes_one(
    browser: "Browser", run_aggregator: Run, tmp_path: Path
) -> None:
    lives = ("--stream-lifetime-ms", "300", "--stream-heartbeat-ms", "50")
    aggregator = run_aggregator("--database", str(tmp_path / "log.db"), *lives)
    await publish(aggregator.url, "e-1")
    async with open_page(browser, aggregator.url, RECORDER) as page:
        await page.wait_for_function("ends === 1")
        await publish(aggregator.url, "e-2")
        await page.wait_for_function(
            "ends >= 2 && seen.at(-1)[0] === 'caught-up' && seen.at(-1)[1] === '2'"
        )
        events = await seen(page)
        messages = [each for each in events if each[0] == "message"]
        assert messages == [("message", "1", "e-1"), ("message", "2", "e-2")]
        others = [each for each in events if each[0] != "message"]
        assert others[0] == ("position", "0", 0)
        assert others[-1] == ("caught-up", "2", {"orders": 2})
        assert {name for name, _, _ in others} == {"position", "caught-up"}
        # Each life has one of both at most.
        assert len(others) <= 2 * (await page.evaluate("ends") + 1)
        aggregator.kill()
        port = str(urlsplit(aggregator.url).port)
        run_aggregator("--database", str(tmp_path / "another.db"), "--port", port)
        await page.wait_for_function("seen.at(-1)[1] === '0' && seen.at(-1)[0] === 'caught-up'")
        assert (await seen(page))[-2:] == [
            (
                "gap",
                "0",
                {"topic": "orders", "from": 1, "to": 2, "reason": "head_is_lower", "head": 0},
            ),
            ("caught-up", "0", {"orders": 0}),
        ]
        await publish(aggregator.url, "e-3")
        await page.wait_for_function("seen.at(-1)[0] === 'message'")
        assert (await seen(page))[-1] == ("message", "1", "e-3")


async def test_refused_page_does_not_ask_again(browser: "Browser", url: str) -> None:
    refused = PAGE.replace("from=start", "limit=1")
    async with open_page(browser, url, refused) as page:
        await until_text(page, "state", "refused")


async def test_page_loaded_again_goes_on_behind_the_position_it_kept(
    browser: "Browser", url: str
) -> None:
    html = f"<!doctype html><body><script>{SCRIPT}</script>"
    await publish(url, "e-1")
    async with open_page(browser, url, html) as page:
        await page.wait_for_function("document.body.innerText.includes('e-1')")
        await page.reload()
        await publish(url, "e-2")
        await page.wait_for_function("document.body.innerText.includes('e-2')")
        assert (await page.inner_text("body")).split() == ["e-2"]


async def test_six_streams_leave_no_connection_for_another_request(
    browser: "Browser", url: str
) -> None:
    async with session() as client, open_page(browser, url, SIX_STREAMS) as page:
        all_are_open = "aggregator_following_streams 6.0"
        await until_answer(client, f"{url}/metrics", 200, all_are_open)
        await page.evaluate("() => { fetch('health').then(() => { answered = true; }); }")
        await until_answer(client, f"{url}/metrics", 200, all_are_open)
        assert not await page.evaluate("answered")
        await page.evaluate("streams[0].close()")
        await page.wait_for_function("answered")
