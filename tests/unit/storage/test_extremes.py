"""The edges of what a store holds: large payloads, odd names, first and last times, a bad clock."""

import asyncio
import json
from typing import Any

import pytest
from support.backends import Database
from support.clocks import shift_clock
from support.events import event
from support.interleaving import Interleaving
from support.reading import get_event, read_page
from support.scene import told
from support.strategies import EVENT_IDS

from storage.errors import StorageUnavailable
from storage.model import MAX_TIME_US, MIN_TIME_US, Event, Query
from storage.protocols import EventStore
from storage.reading.page_fetch import PageFetch

_MANY = 3_000
_LIMIT_S = 20


@pytest.mark.parametrize("size", [4_000, 4_096, 4_097, 70_000, 1_000_000])
async def test_a_payload_of_any_size_is_kept_and_compared_whole(
    store: EventStore, size: int
) -> None:
    payload = json.dumps({"a": "\u00e9" * (size // 2)}, ensure_ascii=False)
    escaped = json.dumps({"a": "\u00e9" * (size // 2)})
    other = payload.replace('"}', 'x"}')
    assert told(await store.append([event("t", "x", payload)])) == [("stored", 1)]
    again = [event("t", "x", payload), event("t", "x", escaped), event("t", "x", other)]
    assert told(await store.append(again)) == [("duplicate", 1), ("duplicate", 1), ("conflict", 1)]
    found = await get_event(store, "t", "x")
    assert found is not None
    assert found.payload.decode() == payload


@pytest.mark.parametrize(
    "payload",
    [
        '{"n":12345678901234567890,"m":1.10,"e":1E400}',
        '{"nul":"\\u0000","lone":"\\ud800"}',
        '{"a":1,"a":2,"":""}',
        '\t{\r\n"a" : [ ] }\n',
        '{"a":' * 127 + "{}" + "}" * 127,
        '{"text":"\x7f\u0080\u2028\ufeff\uffff\U0010ffff"}',
    ],
)
async def test_a_payload_is_given_back_as_it_was_sent(store: EventStore, payload: str) -> None:
    await store.append([event("t", "x", payload)])
    assert told(await store.append([event("t", "x", payload)])) == [("duplicate", 1)]
    found = await get_event(store, "t", "x")
    assert found is not None
    assert found.payload.decode() == payload


async def test_names_that_look_alike_are_different_keys(store: EventStore) -> None:
    batch = [event("t", event_id) for event_id in EVENT_IDS]
    expected = list(range(1, len(EVENT_IDS) + 1))
    assert told(await store.append(batch)) == [("stored", n) for n in expected]
    assert told(await store.append(batch)) == [("duplicate", n) for n in expected]
    for event_id, offset in zip(EVENT_IDS, expected, strict=True):
        found = await get_event(store, "t", event_id)
        assert found is not None
        assert (found.event_id, found.offset) == (event_id, offset)


@pytest.mark.parametrize("time_us", [MIN_TIME_US, -1, 0, 1, MAX_TIME_US - 1])
async def test_the_first_and_the_last_microsecond_come_back(
    store: EventStore, time_us: int
) -> None:
    await store.append([Event("t", "x", time_us, "s", "{}")])
    found = await get_event(store, "t", "x")
    assert found is not None
    assert found.timestamp_us == time_us
    page = await read_page(store, Query(since_us=MIN_TIME_US, until_us=MAX_TIME_US))
    assert page.events == [found]


async def test_time_stands_still_while_the_clock_is_behind(
    in_process_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    for number, seconds in enumerate([3600, 0, -7200, 7200]):
        shift_clock(monkeypatch, seconds)
        await in_process_store.append([event("t", f"e-{number}")])
        found = await get_event(in_process_store, "t", f"e-{number}")
        assert found is not None
        times.append(found.ts_ingest_us)
    assert times[0] == times[1] == times[2] < times[3]


async def test_a_repeat_does_not_let_time_run_backwards_either(
    in_process_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, event_id in [(3600, "x"), (0, "x"), (-60, "y")]:
        shift_clock(monkeypatch, seconds)
        await in_process_store.append([event("t", event_id)])
    first, second = (await read_page(in_process_store, Query(topic="t", newest_first=False))).events
    assert first.ts_ingest_us == second.ts_ingest_us


async def test_closing_waits_for_the_reads_under_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = database.store(readers=2)
    await store.open()
    await store.append([event("t", f"e-{number}") for number in range(_MANY)])
    begun: asyncio.Queue[None] = asyncio.Queue()
    page = PageFetch.page

    async def noted(*arguments: Any) -> Any:
        begun.put_nowait(None)
        return await page(*arguments)

    monkeypatch.setattr(PageFetch, "page", noted)
    query = Query(topic="t", limit=_MANY)
    under_way = [asyncio.create_task(read_page(store, query)) for _ in range(2)]
    for _ in under_way:
        await asyncio.wait_for(begun.get(), _LIMIT_S)
    assert not all(task.done() for task in under_way)
    await store.aclose()
    assert [len((await read).events) for read in under_way] == [_MANY, _MANY]
    with pytest.raises(StorageUnavailable):
        await read_page(store, query)
    with pytest.raises(StorageUnavailable):
        await store.ping()


async def test_closing_waits_for_the_append_under_way(
    database: Database, in_process_store: EventStore
) -> None:
    async with Interleaving(database) as run:
        await run.start("a", in_process_store, [event("t", "x")])
        await run.until("a", "PROBE")
        closing = asyncio.create_task(in_process_store.aclose())
        (outcome,) = await run.finish("a")
        assert told(outcome) == [("stored", 1)]
        await asyncio.wait_for(closing, _LIMIT_S)
    with pytest.raises(StorageUnavailable):
        await in_process_store.append([event("t", "y")])
