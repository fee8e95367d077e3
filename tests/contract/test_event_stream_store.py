"""Event streams and the store: what is read for them, and what becomes of them without it."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from support.backends import Database
from support.blocks import follow, unavailable
from support.events import published
from support.http import MakeClient
from support.stores import ControlledStore
from support.talking import publish

from storage.errors import StorageUnavailable


class OutOfReach(ControlledStore):
    """A store whose reads fail while it is away."""

    away = False

    def _check(self) -> None:
        if self.away:
            raise StorageUnavailable("the database is gone")

    async def read(self, query: Any, encode: Any) -> Any:
        self._check()
        return await super().read(query, encode)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        self._check()
        return await super().heads(topics)


class CountedReads(ControlledStore):
    """A store that counts reads of pages, and whose heads a test can lower."""

    reads = 0
    put_back_to: int | None = None

    async def read(self, query: Any, encode: Any) -> Any:
        self.reads += 1
        return await super().read(query, encode)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        heads = await super().heads(topics)
        return heads if self.put_back_to is None else dict.fromkeys(heads, self.put_back_to)


FOLLOWED: list[tuple[list[str], dict[str, Any]]] = [
    (["orders"], {}),
    (["orders"], {"after": 0}),
    (["orders"], {"source": "web"}),
    (["orders", "b"], {}),
    (["**"], {}),
]


async def test_what_is_new_is_read_once_for_all_streams_of_a_topic(
    make_client: MakeClient, database: Database
) -> None:
    store = CountedReads(database.store())
    client = await make_client(store)
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(follow(client, *topics, **beginning))
            for topics, beginning in FOLLOWED
            for _ in range(4)
        ]
        for stream in streams:
            await stream.until("caught-up")
        store.reads = 0
        await publish(client, [published(source="web") for _ in range(3)])
        for stream in streams:
            assert [block.offset for block in await stream.events(3)] == [1, 2, 3]
        assert store.reads == 1


async def test_streams_take_no_place_of_other_reads(make_client: MakeClient) -> None:
    client = await make_client(max_reads=1)
    async with follow(client, "orders") as first, follow(client, "orders") as second:
        for stream in (first, second):
            await stream.until("caught-up")
        response = await client.get("/events")
        assert response.status == 200


async def test_a_store_out_of_reach_is_told_to_new_streams_and_outlived_by_open_ones(
    make_client: MakeClient, database: Database
) -> None:
    store = OutOfReach(database.store())
    client = await make_client(store, stream_heartbeat_ms=20)
    async with follow(client, "orders", "new.*") as stream:
        await stream.next()
        store.away = True
        assert await unavailable(client, "orders") == "the database is gone"
        await publish(client, [published(), published(topic="new.1")])
        assert await stream.response.content.readline() == b":\n"
        store.away = False
        found = await stream.events(2)
        assert sorted(block.data["topic"] for block in found) == ["new.1", "orders"]


async def test_who_was_behind_is_told_again_that_it_caught_up(make_client: MakeClient) -> None:
    # Nothing is kept for others, so that who is behind the tail has to read.
    client = await make_client(answers_max_bytes=2**20)
    large = {"text": "x" * 500_000}
    async with follow(client, "orders") as stream:
        await stream.until("caught-up")
        await publish(client, published())
        assert (await stream.next()).event == "message"
        # More than the connection holds, in several chunks, while nobody reads.
        for _ in range(10):
            await publish(client, [published(payload=large) for _ in range(4)])
        blocks = await stream.until("caught-up")
        while blocks[-1].id != "41":
            # It may have caught up between two publishes.
            blocks += await stream.until("caught-up")
        given = [block.offset for block in blocks if block.event == "message"]
        assert given == list(range(2, 42))
        assert blocks[-1].data == {"orders": 41}


async def test_a_log_that_is_put_back_ends_its_streams_and_is_told_to_who_comes_back(
    make_client: MakeClient, database: Database
) -> None:
    store = CountedReads(database.store())
    client = await make_client(store)
    await publish(client, [published() for _ in range(5)])
    async with follow(client, "orders") as stream:
        await stream.until("caught-up")
        store.put_back_to = 2
        assert await stream.rest() == []
    async with follow(client, "orders", headers={"Last-Event-ID": "5"}) as stream:
        block = await stream.next()
        assert (block.event, block.data["from"], block.data["to"]) == ("gap", 3, 5)
    store.put_back_to = None
    response = await client.get(
        "/events?topic=orders&follow=true", headers={"Accept": "application/x-ndjson"}
    )
    for _ in range(5):
        await response.content.readline()
    store.put_back_to = 2
    with pytest.raises(ClientPayloadError):
        await response.read()
