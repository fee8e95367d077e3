"""Waits: what ends them, and what they give then."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.scripted_log import TOPIC, ScriptedLog

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.heads import HeadWatch
from aggregator.live.shared_reads import SharedReads
from aggregator.live.waits import Waits
from storage.errors import StorageUnavailable
from storage.model import Page, Position, Query

FIRST = Query(topic=TOPIC, after=0, newest_first=False, source="rare")


@pytest.fixture
async def log() -> AsyncIterator[ScriptedLog]:
    log = ScriptedLog()
    yield log
    await log.aclose()


async def test_a_wait_that_is_ended_asleep_gives_the_page_it_read(log: ScriptedLog) -> None:
    log.commit()
    log.wait(1)
    await log.rest()
    _, wait, page = log.waiting[0]
    assert not page.done()
    wait.end()
    found = await page
    assert (found.count, found.head, found.next) == (0, 1, None)
    wait.end()


async def test_a_wait_that_is_ended_while_it_reads_gives_what_comes(log: ScriptedLog) -> None:
    log.wait(0)
    log.wait(1)
    await log.settle()
    for _, wait, _ in log.waiting:
        wait.end()
    log.commit()
    await log.rest()
    assert [(page.result().count, page.result().head) for _, _, page in log.waiting] == [
        (1, 1),
        (0, 1),
    ]


async def test_a_wait_reads_once_for_each_head_that_it_is_woken_by(log: ScriptedLog) -> None:
    """A wait whose filter leaves an event out goes on behind it."""
    queries: list[Query] = []
    heads = HeadWatch()

    async def read(query: Query) -> Page[bytes]:
        queries.append(query)
        head = len(queries)
        return Page([b"[]"], int(head == 3), None, head)

    waits = Waits(heads, SharedReads(heads, read), max_waits=1)
    with waits.hold(60) as wait:
        page = asyncio.create_task(wait.page(FIRST, TOPIC))
        await log.settle()
        for head in (1, 2, 2, 3):
            heads.advance({TOPIC: head})
            await log.settle()
        assert (await page).head == 3
    assert [query.after for query in queries] == [0, 1, 2]


async def scanned(ended_after: int) -> tuple[Page[bytes], list[Query]]:
    """A wait through scans of ten rows each; it is ended in the midst of one."""
    queries: list[Query] = []
    heads = HeadWatch()

    async def read(query: Query) -> Page[bytes]:
        queries.append(query)
        if len(queries) == ended_after:
            wait.end()
        seen = 10 * len(queries)
        return Page([b"[]"], int(seen == 50), Position(0, TOPIC, seen), 100)

    waits = Waits(heads, SharedReads(heads, read), max_waits=1)
    with waits.hold(60) as wait:
        return await wait.page(FIRST, TOPIC), queries


async def test_a_wait_goes_on_scanning_from_where_it_came_to() -> None:
    page, queries = await scanned(ended_after=100)
    assert (page.count, page.next) == (1, Position(0, TOPIC, 50))
    assert [query.position for query in queries] == [
        None, *(Position(0, TOPIC, seen) for seen in (10, 20, 30, 40)),
    ]  # fmt: skip


async def test_a_wait_that_ends_while_it_scans_says_where_to_go_on() -> None:
    page, queries = await scanned(ended_after=3)
    assert (page.count, page.next) == (0, Position(0, TOPIC, 30))
    assert len(queries) == 3


async def test_a_wait_that_is_over_leaves_nothing_behind(log: ScriptedLog) -> None:
    log.wait(0)
    log.wait(5)
    log.wait(0)
    await log.rest()
    log.cancel()
    log.commit()
    await log.rest()
    assert log.heads.topics == [TOPIC]
    log.waiting[1][1].end()
    await log.settle()
    assert not log.heads
    assert not log.reads._under_way


async def test_one_that_leaves_does_not_take_the_read_from_the_others(log: ScriptedLog) -> None:
    for _ in range(3):
        log.wait(0)
    log.commit()
    await log.settle()
    assert len(log.asked) == 1
    log.cancel()
    await log.rest()
    assert [page.cancelled() for _, _, page in log.waiting] == [True, False, False]
    assert [page.result().count for _, _, page in log.waiting[1:]] == [1, 1]


async def test_a_read_that_fails_is_told_to_all_who_share_it(log: ScriptedLog) -> None:
    for _ in range(2):
        log.wait(0)
    await log.settle()
    log.asked.pop()[1].set_exception(StorageUnavailable("it is gone"))
    await log.settle()
    for _, _, page in log.waiting:
        assert isinstance(page.exception(), StorageUnavailable)
    log.wait(0)
    await log.settle()
    assert len(log.asked) == 1, "the next one reads anew"


async def test_places_are_bounded_and_given_back(log: ScriptedLog) -> None:
    waits = Waits(log.heads, log.reads, max_waits=1)
    for _ in range(2):
        with waits.hold(60):
            assert len(waits) == 1
            with (
                pytest.raises(QueueFull, match="1 requests that wait are held"),
                waits.hold(60),
            ):
                pass
    assert (len(waits), waits.refused) == (0, 2)


async def test_draining_ends_those_that_are_held_and_holds_no_more(log: ScriptedLog) -> None:
    waits = Waits(log.heads, log.reads, max_waits=9)
    with waits.hold(60) as first, waits.hold(60) as second:
        waits.drain()
        assert (first.ended, second.ended) == (True, True)
        with pytest.raises(ShuttingDown), waits.hold(60):
            pass
