"""Under load and with a store that fails: a 503 at once, nobody else's trouble, and recovery."""

import asyncio
import json
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.sockets import connect, post, read_answer
from support.stores import ControlledStore
from support.talking import expect_problem, get_json, publish, read_all, statuses
from support.tasks import StartSoon

from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable

pytestmark = pytest.mark.parametrize("fast_path", ["auto", "off"])


@pytest.fixture
def held(database: Database) -> ControlledStore:
    """The backend's store, holding every append until it is released."""
    store = ControlledStore(database.store())
    store.hold()
    return store


async def eventually_answers(client: Client, status: int, event: dict[str, Any]) -> dict[str, Any]:
    """Publish again and again until the answer has this status."""
    async with asyncio.timeout(30):
        while True:
            response = await client.post("/publish", json=event)
            assert response.status in {200, 503}, await response.text()
            if response.status == status:
                content: dict[str, Any] = await response.json(content_type=None)
                return content
            await asyncio.sleep(0.01)


async def queue_is_full(client: Client) -> None:
    """Return once as many events wait as may."""
    async with asyncio.timeout(30):
        while (await client.get("/ready")).status == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_queue_is_bounded_in_events_and_releases_room(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=2, queue_max_events=3)
    waiting = start_soon(publish(client, [published(), published()]))
    await held.begun()
    for _ in range(3):
        response = await client.post("/publish", json=[published(), published()])
        problem = await expect_problem(response, 503)
        assert "queue is full" in problem["detail"]
    held.release()
    assert (await waiting)["received"] == 2
    assert (await publish(client, [published(), published()]))["received"] == 2
    assert (await get_json(client, "/stats"))["received"] == 4


async def test_queue_is_bounded_in_bytes_and_releases_room(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_body_bytes=1000, queue_max_bytes=1000)
    large = json.dumps(published()).ljust(900).encode()
    waiting = start_soon(publish(client, large))
    await held.begun()
    problem = await expect_problem(await client.post("/publish", json=published()), 503)
    assert "queue is full" in problem["detail"]
    held.release()
    await waiting
    assert statuses(await publish(client, large)) == ["duplicate"]


async def test_refused_requests_release_their_room(make_client: MakeClient) -> None:
    client = await make_client(
        max_body_bytes=1000, queue_max_bytes=1000, max_batch_events=1, queue_max_events=1
    )
    for body in (b"x" * 1000, b"x" * 1001, b"{}", json.dumps([published()] * 2).encode()):
        response = await client.post(
            "/publish", data=body, headers={"Content-Type": "application/json"}
        )
        assert 400 <= response.status < 500
    assert (await publish(client, json.dumps(published()).ljust(1000).encode()))["received"] == 1


async def test_concurrent_requests_get_their_own_verdicts(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=39, queue_max_events=39)
    events = [published() for _ in range(20)]
    first = start_soon(publish(client, events[0]))
    await held.begun()
    others = [start_soon(publish(client, [event, events[0]])) for event in events[1:]]
    await queue_is_full(client)
    held.release()
    assert statuses(await first) == ["stored"]
    answers = await asyncio.gather(*others)
    assert [statuses(answer) for answer in answers] == [["stored", "duplicate"]] * 19
    for event, answer in zip(events[1:], answers, strict=True):
        assert [r["event_id"] for r in answer["results"]] == [
            event["event_id"],
            events[0]["event_id"],
        ]
    offsets = sorted(answer["results"][0]["offset"] for answer in answers)
    assert offsets == list(range(2, 21))
    assert [len(batch) for batch in held.batches] == [1, 38]


async def test_client_disconnect_does_not_affect_other_requests(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=4, queue_max_events=4)
    _, hung_up = await connect(client)
    lost = published()
    hung_up.write(post(json.dumps(lost).encode()))
    await held.begun()
    neighbour = start_soon(publish(client, published()))
    hung_up.transport.abort()
    held.release()
    assert statuses(await neighbour) == ["stored"]
    # Its event was on its way already; sending it again is safe, and all room is back.
    assert statuses(await eventually_answers(client, 200, lost)) == ["duplicate"]
    four = [published() for _ in range(4)]
    assert statuses(await publish(client, four)) == ["stored"] * 4


async def test_client_disconnect_in_the_body_releases_room(
    make_client: MakeClient,
) -> None:
    client = await make_client(max_body_bytes=1000, queue_max_bytes=1000)
    event = published(payload={"text": "x" * 500})
    _, writer = await connect(client)
    writer.write(post(b"x" * 900, Content_Length="1000"))
    await eventually_answers(client, 503, event)
    writer.transport.abort()
    await eventually_answers(client, 200, event)


async def test_stalled_body_times_out_and_releases_room(
    make_client: MakeClient,
) -> None:
    client = await make_client(max_body_bytes=1000, queue_max_bytes=1000, body_timeout_ms=50)
    reader, writer = await connect(client)
    writer.write(post(b"x" * 900, Content_Length="1000"))
    answer = await read_answer(reader)
    assert (answer.status, answer.content_type) == (503, "application/problem+json")
    assert b"not complete after 0.05 seconds" in answer.body
    event = published(payload={"text": "x" * 500})
    assert statuses(await publish(client, event)) == ["stored"]
    writer.close()


async def test_request_refused_by_the_store_does_not_affect_others_of_its_flush(
    make_client: MakeClient, held: ControlledStore, start_soon: StartSoon
) -> None:
    client = await make_client(held, max_batch_events=6, queue_max_events=6)
    held.refused = {"poison"}
    first = start_soon(publish(client, published(event_id="first")))
    await held.begun()
    poison = start_soon(client.post("/publish", json=[published(), published(event_id="poison")]))
    good = [start_soon(publish(client, published(event_id=f"good-{n}"))) for n in range(3)]
    await queue_is_full(client)
    held.release()
    assert statuses(await first) == ["stored"]
    assert [statuses(await each) for each in good] == [["stored"]] * 3
    await expect_problem(await poison, 503)
    assert sorted(map(len, held.batches)) == [1, 1, 1, 1, 2, 5]
    stored = {e["event_id"] for e in await read_all(client, topic="orders", after=0)}
    assert stored == {"first", "good-0", "good-1", "good-2"}
    assert (await get_json(client, "/stats"))["received"] == 4
    # The store itself is fine, so nothing waits for it to come back.
    assert statuses(await publish(client, published())) == ["stored"]


@pytest.mark.parametrize("error", [StorageUnavailable("out of reach"), OutcomeUnknown("who knows")])
async def test_failing_store_is_503_until_a_ping_succeeds(
    make_client: MakeClient, database: Database, error: StorageError
) -> None:
    store = ControlledStore(database.store())
    client = await make_client(store)
    store.broken = error
    event = published()
    problem = await expect_problem(await client.post("/publish", json=event), 503)
    assert str(error) in problem["detail"]
    # While the store is suspected it is not even asked.
    asked = len(store.batches)
    await expect_problem(await client.post("/publish", json=event), 503)
    assert len(store.batches) == asked
    store.broken = None
    answer = await eventually_answers(client, 200, event)
    assert statuses(answer) == ["stored"]
    await get_json(client, "/ready")
    assert (await get_json(client, "/stats"))["received"] == 1


async def test_unforeseen_failure_is_503_and_later_publishes_succeed(
    make_client: MakeClient, database: Database
) -> None:
    class Surprising(ControlledStore):
        surprise: Exception | None = RuntimeError("a bug")

        async def append(self, batch: Any) -> Any:
            if self.surprise is not None:
                raise self.surprise
            return await super().append(batch)

    store = Surprising(database.store())
    client = await make_client(store)
    await expect_problem(await client.post("/publish", json=published()), 503)
    store.surprise = None
    assert statuses(await publish(client, published())) == ["stored"]
