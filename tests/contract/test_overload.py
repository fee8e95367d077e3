"""What is refused under overload: before it costs anything, and with room for the largest next."""

import asyncio
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import MakeClient
from support.sockets import connect, post, read_answer
from support.stores import ControlledStore
from support.talking import expect_problem, get_json, publish, statuses
from support.tasks import StartSoon


@pytest.fixture
def held(database: Database) -> ControlledStore:
    """The backend's store, holding every append until it is released."""
    store = ControlledStore(database.store())
    store.hold()
    return store


async def test_publish_with_full_queue_is_503_before_its_body_and_keeps_the_connection(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=2, queue_max_events=2)
    waiting = start_soon(publish(client, [published(), published()]))
    await held.begun()
    event = b'{"topic":"t","event_id":"e","timestamp":"2026-01-31T12:00:00Z","source":"s"'
    reader, writer = await connect(client)
    writer.write(post(event, Content_Length=str(len(event) + 14)))
    # The rest of the body comes after the answer: none of it was waited for.
    assert (await read_answer(reader)).status == 503
    held.release()
    await waiting
    writer.write(b',"payload":{}}')
    writer.write(post(event + b',"payload":{}}'))
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_large_publish_is_admitted_between_small_ones(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=8, queue_max_events=10, flush_max_events=2)
    small = [start_soon(publish(client, [published(), published()])) for _ in range(3)]
    await held.begun()
    async with asyncio.timeout(30):
        while (await client.post("/publish", json=[published()] * 8)).status != 503:
            pass
    # There is room for it, and yet: the large one was refused, so it is waited for its room.
    problem = await expect_problem(await client.post("/publish", json=published()), 503)
    assert "takes more when 2 do" in problem["detail"]
    await expect_problem(await client.get("/ready"), 503)
    held.release()
    for each in small:
        await each
    assert statuses(await publish(client, [published() for _ in range(8)])) == ["stored"] * 8


class HeldReads(ControlledStore):
    """A store whose reads wait until they are released."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.store())
        self.released = asyncio.Event()
        self.waiting = 0

    async def read(self, query: Any, encode: Any) -> Any:
        self.waiting += 1
        await self.released.wait()
        return await super().read(query, encode)


async def test_reads_are_bounded_and_do_not_delay_publishes(
    make_client: MakeClient, database: Database
) -> None:
    store = HeldReads(database)
    client = await make_client(store, max_reads=2)
    writers = [(await connect(client))[1] for _ in range(2)]
    for writer in writers:
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        while store.waiting < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for path in ("/events", "/stats", "/events/orders/e-1"):
        async with asyncio.timeout(30):
            response = await client.get(path)
        assert response.headers["Retry-After"].isdigit()
        await expect_problem(response, 503)
    assert statuses(await publish(client, published())) == ["stored"]
    store.released.set()
    async with asyncio.timeout(30):
        while (await client.get("/events")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await get_json(client, "/stats"))["received"] == 1
    for writer in writers:
        writer.close()
