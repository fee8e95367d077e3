"""The real process, scraped while it works: counts to the last event, and what is built on them."""

import asyncio
import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.backends import Database
from support.load import Told, batch_of, get_json, publish, session, until
from support.metrics import Scraped
from support.processes import Aggregator

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operate"

Batch = list[dict[str, Any]]

_COUNTS = ("received", "unique_processed", "duplicate_dropped", "conflicts")


@pytest.fixture
def aggregator(run_aggregator: Callable[..., Aggregator], database: Database) -> Aggregator:
    return run_aggregator(*database.arguments(), "--metrics-max-topics", "3")


async def scrape(client: aiohttp.ClientSession, url: str) -> Scraped:
    async with client.get(f"{url}/metrics") as response:
        assert response.status == 200
        return Scraped(await response.text())


async def scrape_until_cancelled(url: str, chance: random.Random, seen: list[Scraped]) -> None:
    """Scrape from connections that end in the middle of a page, as of a scraper started anew."""

    async def keep_scraping(client: aiohttp.ClientSession) -> None:
        pages = 0
        while pages < 20:
            seen.append(await scrape(client, url))
            pages += 1

    while True:
        async with session() as client:
            with suppress(TimeoutError):
                # Few have the patience that a busy machine asks of them.
                patience_s = 5.0 if chance.random() < 0.1 else chance.uniform(0.001, 0.05)
                async with asyncio.timeout(patience_s):
                    await keep_scraping(client)


async def send(url: str, batches: list[Batch], seen: list[Scraped]) -> tuple[Scraped, Any]:
    """Publish from ten clients while scrapers come and go; what is told at the end."""
    chance = random.Random(7)

    async def send_part(part: list[Batch]) -> None:
        for batch in part:
            async with client.post(f"{url}/publish", json=batch) as response:
                assert response.status == 200

    async with session() as client:
        scrapers = [
            asyncio.create_task(scrape_until_cancelled(url, chance, seen)) for _ in range(2)
        ]
        await asyncio.gather(*(send_part(batches[start::10]) for start in range(10)))
        await until(lambda: bool(seen))
        for scraper in scrapers:
            scraper.cancel()
        for outcome in await asyncio.gather(*scrapers, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome
        # Scrapes share a snapshot: the first may get one that a canceled scrape had begun.
        await scrape(client, url)
        return await scrape(client, url), await get_json(client, f"{url}/stats")


async def test_after_a_load_with_scrapers_that_come_and_go_every_event_is_counted(
    aggregator: Aggregator,
) -> None:
    chance = random.Random(8)
    batches = [
        batch_of(f"t-{chance.randrange(6)}", [f"e-{chance.randrange(400)}" for _ in range(20)])
        for _ in range(150)
    ]
    seen: list[Scraped] = []
    page, stats = await send(aggregator.url, batches, seen)
    for each in [*seen, page]:
        log = {name: each.value(f"aggregator_log_{name}") for name in _COUNTS}
        assert log["received"] == log["unique_processed"] + log["duplicate_dropped"]
    assert log == {name: stats[name] for name in _COUNTS}
    assert page.by("aggregator_events_total", "verdict") == {
        ("stored",): stats["unique_processed"],
        ("duplicate",): stats["duplicate_dropped"],
    }
    by_topic = page.by("aggregator_events_total", "topic")
    named = {topic for (topic,) in by_topic} - {"(other)"}
    assert len(named) == 3
    for topic in named:
        assert by_topic[(topic,)] == stats["topics"][topic]["received"]
    assert sum(by_topic.values()) == stats["received"] == 3000
    assert page.value("aggregator_flush_events_sum") == stats["received"]
    commits, flushes = (
        page.value(f"aggregator_{name}_duration_seconds_count") for name in ("commit", "flush")
    )
    assert commits == flushes
    requests = page.by("aggregator_requests_total", "path", "status")
    assert requests["/publish", "200"] == len(batches)


async def test_what_the_documentation_lists_is_what_there_is(
    aggregator: Aggregator, database: Database
) -> None:
    async with session() as client:
        page = await scrape(client, aggregator.url)
    free = [value for (name, _), value in page.samples.items() if name.endswith("_free_bytes")]
    assert [bytes_ > 0 for bytes_ in free] == [True] * (database.backend == "sqlite")
    served = {name for name in page.names() if name.startswith("aggregator_")}
    text = (OPERATIONS / "metrics.md").read_text()
    listed = re.findall(r"^\| `(aggregator_\w+)`", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    histograms = {name.removesuffix("_bucket") for name in served if name.endswith("_bucket")}
    plain = {name for name in served if re.sub("_(bucket|sum|count)$", "", name) not in histograms}
    assert set(listed) == plain | histograms


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
async def test_every_metric_that_is_asked_for_exists(aggregator: Aggregator, file: str) -> None:
    async with session() as client:
        # With its labels there.
        await publish(client, aggregator.url, batch_of("orders", ["e-1"]), Told())
        url = f"{aggregator.url}/subscriptions/billing"
        async with client.put(url, json={"topics": ["orders"]}) as made:
            assert made.status == 201
        page = await scrape(client, aggregator.url)
    text = (OPERATIONS / file).read_text()
    if file == "dashboard.json":
        text = " ".join(
            target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]
        )
    else:
        text = " ".join(re.findall(r"expr: (.*)", text))
    asked = set(re.findall(r"\b(?:aggregator|process)_\w+", text))
    assert len(asked) >= 5
    assert asked <= page.names()
    # Prometheus itself adds two.
    labels = {label for _, labels in page.samples for label, _ in labels} | {"instance", "job"}
    grouped = re.findall(r"\bby \(([^)]*)\)", text)
    wanted = [*re.findall(r"\{(\w+)=", text), *", ".join(grouped).split(", ")]
    assert set(wanted) <= labels
