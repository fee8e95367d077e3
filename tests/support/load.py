"""Publishers that put a real process under load and remember everything they were told."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

import aiohttp
from yarl import URL

from support.events import published

Key = tuple[str, str]
Batch = list[dict[str, Any]]

LIMIT_S = 60.0
CUT_OFF = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)
"""What a client raises when the connection ends before the answer does."""
_LINK = re.compile(r'<([^>]*)>; rel="next"')


def batch_of(topic: str, event_ids: Iterable[str]) -> Batch:
    """Events with these ids; the same id always makes the same event."""
    return [published(topic=topic, event_id=event_id) for event_id in event_ids]


def keys_of(batch: Batch) -> set[Key]:
    """The dedup keys of a batch."""
    return {(event["topic"], event["event_id"]) for event in batch}


class Told:
    """What the aggregator told its publishers, checked for consistency as it comes in."""

    def __init__(self) -> None:
        self.offsets: dict[Key, int] = {}
        """The offset of every acknowledged event."""
        self.received = 0
        """Acknowledged events, duplicates included."""
        self.requests = 0
        """Acknowledged requests."""
        self.unanswered: list[Batch] = []
        """Batches whose fate is unknown: the connection ended without an answer."""
        self.refused: list[Batch] = []
        """Batches answered 503; each may have been stored all the same."""

    def note(self, batch: Batch, answer: dict[str, Any]) -> None:
        """Take in the answer to a batch."""
        results = answer["results"]
        assert [(r["topic"], r["event_id"]) for r in results] == [
            (e["topic"], e["event_id"]) for e in batch
        ]
        assert answer["received"] == len(batch)
        assert answer["received"] == answer["unique_processed"] + answer["duplicate_dropped"]
        self.requests += 1
        self.received += len(batch)
        for result in results:
            key = (result["topic"], result["event_id"])
            before = self.offsets.setdefault(key, result["offset"])
            assert result["offset"] == before, f"{key} was at {before}, now {result['offset']}"

    @property
    def uncertain(self) -> list[Batch]:
        """Every try that may or may not have been stored."""
        return self.unanswered + self.refused


async def publish(session: aiohttp.ClientSession, url: str, batch: Batch, told: Told) -> int:
    """Publish once; returns the status, 0 if the connection ended without an answer.

    Any status that a sound batch must not get fails the test.
    """
    status, content = await post(session, url, batch)
    if status == 200:
        told.note(batch, content)
    else:
        (told.refused if status else told.unanswered).append(batch)
    return status


async def publish_to_topics(session: aiohttp.ClientSession, url: str, topics: int) -> None:
    """One event in each of so many topics, whose names come before most others."""
    batch = [published(topic=f"0-{number}") for number in range(topics)]
    assert await publish(session, url, batch, Told()) == 200


async def post(session: aiohttp.ClientSession, url: str, batch: Batch) -> tuple[int, Any]:
    """Publish once; returns the status, as `publish` does, and the content of the answer."""
    try:
        async with session.post(f"{url}/publish", json=batch) as response:
            content = await response.json(content_type=None)
    except CUT_OFF:
        return 0, None
    if response.status != 200:
        assert response.status == 503, content
        assert response.headers["Retry-After"].isdigit()
        assert response.content_type == "application/problem+json"
    return response.status, content


async def publish_until_taken(
    session: aiohttp.ClientSession, url: str, batch: Batch, told: Told
) -> None:
    """Publish, again and again, until it is acknowledged."""
    deadline = time.monotonic() + LIMIT_S
    while await publish(session, url, batch, told) != 200:
        assert time.monotonic() < deadline, f"not taken within {LIMIT_S} s"
        await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fails the test if it does not within the limit."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a process
            await asyncio.sleep(0.005)


async def until_acknowledged(told: Told, requests: int) -> None:
    """Return once so many requests were acknowledged in all."""
    await until(lambda: told.requests >= requests)


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a bound on its connections.

    An answer that a test did not read is closed with it. Otherwise the garbage collector may find
    its connection open, in the midst of another test.
    """
    answers: WeakSet[aiohttp.ClientResponse] = WeakSet()

    async def note(_session: object, _context: object, end: aiohttp.TraceRequestEndParams) -> None:
        answers.add(end.response)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(note)
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=LIMIT_S),
        connector=aiohttp.TCPConnector(limit=0),
        trace_configs=[trace],
    ) as session:
        try:
            yield session
        finally:
            for answer in list(answers):
                answer.close()


async def get_json(session: aiohttp.ClientSession, url: str, status: int = 200) -> Any:
    """The content behind a URL, which must come with that status."""
    async with session.get(url) as response:
        content = await response.json(content_type=None)
        assert response.status == status, content
        return content


async def until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Return once /ready is 200."""
    await until_answer(session, f"{url}/ready", 200, "")


async def until_answer(session: aiohttp.ClientSession, url: str, status: int, text: str) -> str:
    """Ask until the answer has that status and that text in it; returns the answer."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        async with session.get(url) as response:
            content = await response.text()
            if response.status == status and text in content:
                return content
        assert time.monotonic() < deadline, f"{url} still answers {response.status}: {content}"
        await asyncio.sleep(0.02)


async def read_log(session: aiohttp.ClientSession, url: str, topic: str) -> Batch:
    """A topic from its start, through the Link headers."""
    events: Batch = []
    target: URL | None = URL(f"{url}/events?topic={topic}&after=0&limit=700")
    while target is not None:
        async with session.get(target) as response:
            assert response.status == 200, await response.text()
            events += await response.json()
            link = _LINK.fullmatch(response.headers.get("Link", ""))
            target = response.url.join(URL(link[1], encoded=True)) if link else None
    return events


def check_conservation(stats: dict[str, Any]) -> None:
    """`received = unique_processed + duplicate_dropped`, per topic and in all.

    The whole is the sum of the topics, if all of them are listed; else it is not less.
    """
    for counts in [stats, *stats["topics"].values()]:
        assert counts["received"] == counts["unique_processed"] + counts["duplicate_dropped"], stats
        assert 0 <= counts["conflicts"] <= counts["duplicate_dropped"], stats
    for name in ("received", "unique_processed", "duplicate_dropped", "conflicts"):
        listed = sum(counts[name] for counts in stats["topics"].values())
        more = stats.get("topics_total", len(stats["topics"])) > len(stats["topics"])
        assert listed == stats[name] or (more and listed < stats[name]), stats


async def check_kept(
    session: aiohttp.ClientSession, url: str, told: Told, topics: Sequence[str]
) -> tuple[dict[Key, int], dict[str, Any]]:
    """Check all that the contract promises of what is stored; returns the log and the counts.

    Conservation; offsets dense from 1 to `unique_processed`; every dedup key once; every
    acknowledged event at the offset that was told.
    """
    stats = await get_json(session, f"{url}/stats")
    check_conservation(stats)
    stored: dict[Key, int] = {}
    for topic in topics:
        events = await read_log(session, url, topic)
        unique = stats["topics"].get(topic, {"unique_processed": 0})["unique_processed"]
        assert [event["offset"] for event in events] == list(range(1, unique + 1))
        kept = {(topic, event["event_id"]): event["offset"] for event in events}
        assert len(kept) == len(events), f"{topic} has a key twice"
        stored |= kept
    lost = {key: offset for key, offset in told.offsets.items() if stored.get(key) != offset}
    assert not lost, f"acknowledged, but not stored where it was told: {lost}"
    return stored, stats
