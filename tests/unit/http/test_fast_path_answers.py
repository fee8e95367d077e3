"""The short way of a publish answers as the usual one does, and keeps the order of a connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.events import published
from support.in_process import InProcessStore
from support.served import HEALTH, Served, Talk, serving, talking
from support.sockets import post

from aggregator.http.fast_connection import FastConnection
from aggregator.observability.access_log import AccessLog
from storage.errors import StorageUnavailable
from storage.model import Appended, Event

pytestmark = pytest.mark.usefixtures("processes")

ONE = json.dumps(published()).encode()
MANY = json.dumps([published(event_id=f"e-{n % 4}") for n in range(6)]).encode()
LINES = b"\n".join([ONE, b"", json.dumps(published(topic="other")).encode()])
BAD = json.dumps([published(), published(topic="no topic"), published(event_id="")]).encode()
CONFLICT = json.dumps([published(), published(payload={"another": 1})]).encode()
ALL_BAD = json.dumps([published(topic="")]).encode()
PUBLISHES = {
    "one": post(ONE, Content_Type="application/json"),
    "without a type": post(ONE),
    "an array": post(MANY),
    "an envelope": post(b'{"events": ' + MANY + b"}"),
    "lines": post(LINES, Content_Type="application/x-ndjson"),
    "minimal": post(MANY, Prefer="return=minimal"),
    "lenient": post(BAD, Prefer="handling=lenient"),
    "lenient and none valid": post(ALL_BAD, Prefer="handling=lenient"),
    "lenient and minimal": post(BAD, Prefer="handling=lenient, return=minimal"),
    "a conflict": post(CONFLICT),
    "invalid": post(BAD),
    "no JSON": post(b"{"),
    "nothing": post(b""),
    "no events": post(b"[]"),
    "no UTF-8": post(b"\xff"),
    "another type": post(ONE, Content_Type="text/plain"),
    "another charset": post(ONE, Content_Type="application/json; charset=latin-1"),
    "another coding": post(ONE, Content_Encoding="br"),
    "a preference as long as a novel": post(MANY, Prefer="return=minimal, " + "x" * 5000),
    "an id": post(ONE, X_Request_ID="mine"),
}


class WaitingStore(InProcessStore):
    """A store whose transactions wait until they are let go, and may fail then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.error: Exception | None = None

    async def append(self, batch: Sequence[Event]) -> Appended:
        self.begun.set()
        await self.let_go.wait()
        if self.error is not None:
            raise self.error
        return await super().append(batch)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WaitingStore]:
    store = WaitingStore(tmp_path / "log.db")
    yield store
    store.let_go.set()


@pytest.mark.parametrize("name", PUBLISHES)
async def test_the_answer_is_that_of_the_usual_way(tmp_path: Path, name: str) -> None:
    request = PUBLISHES[name]
    answers: list[tuple[int, dict[str, str], object]] = []
    for target in (b"/publish ", b"/publish? "):
        directory = tmp_path / str(len(answers))
        directory.mkdir()
        async with serving(directory) as served, talking(served) as talk:
            status, headers, body = await talk.answer(request.replace(b"/publish ", target))
            # Nothing hangs on the connection afterwards.
            assert (await talk.answer(HEALTH))[0] == 200
            assert served.requests == 1 + len(answers)
        headers["date"] = ""
        if name != "an id":
            assert headers.pop("x-request-id")
        answers.append((status, headers, json.loads(body)))
    assert answers[0] == answers[1]


async def test_a_compressed_body_goes_the_usual_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, talking(served) as talk:
        status, _, _ = await talk.answer(post(b"no gzip", Content_Encoding="gzip"))
        assert (status, served.requests) == (400, 1)


@asynccontextmanager
async def under_way(
    tmp_path: Path, store: WaitingStore, request: bytes, **changes: Any
) -> AsyncIterator[tuple[Served, Talk, Talk]]:
    """A connection whose publish waits for the store, and another."""
    async with (
        serving(tmp_path, store, **changes) as served,
        talking(served) as talk,
        talking(served) as other,
    ):
        talk.writer.write(request)
        await store.begun.wait()
        yield served, talk, other


async def until_read(talk: Talk, request: bytes, served_by: Talk) -> None:
    """Send a request that is not answered yet, and wait until it has been read."""
    talk.writer.write(request)
    await talk.writer.drain()
    await served_by.answer(HEALTH)


async def test_what_comes_behind_a_publish_waits_until_that_is_stored(
    tmp_path: Path, store: WaitingStore
) -> None:
    async with under_way(tmp_path, store, PUBLISHES["an id"]) as (served, talk, other):
        await until_read(talk, HEALTH[:10], other)
        await until_read(talk, HEALTH[10:], other)
        before = served.requests
        store.let_go.set()
        status, headers, _ = await talk.answer()
        assert (status, headers["x-request-id"]) == (200, "mine")
        assert json.loads((await talk.answer())[2]) == {"status": "ok"}
        assert served.requests == before + 1


async def test_a_connection_with_a_publish_under_way_is_not_idle(
    tmp_path: Path, store: WaitingStore
) -> None:
    kept = {"keepalive_timeout": 0.2}
    async with under_way(tmp_path, store, post(ONE), **kept) as (served, talk, _):
        connection = served.connections[0]
        assert not connection.idle
        looked_at = connection._keepalive_handle
        async with asyncio.timeout(30):
            # Until it was looked at for having been idle for too long.
            while connection._keepalive_handle is looked_at:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        store.let_go.set()
        assert (await talk.answer())[0] == 200
        assert await talk.ended()


async def test_a_storage_error_is_a_503(tmp_path: Path, store: WaitingStore) -> None:
    async with serving(tmp_path, store) as served, talking(served) as talk:
        store.error = StorageUnavailable("out of reach")
        store.let_go.set()
        status, headers, body = await talk.answer(post(ONE))
        assert (status, headers["retry-after"], served.requests) == (503, "1", 0)
        assert "out of reach" in json.loads(body)["detail"]


async def test_a_defect_is_a_500_and_nothing_of_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as served, talking(served) as talk:
        monkeypatch.setattr("aggregator.ingest.publish_service.summarize", lambda _: 1 / 0)
        status, _, body = await talk.answer(post(ONE))
        assert (status, served.requests) == (500, 0)
        assert "division" not in body.decode()


async def test_a_log_that_fails_costs_no_second_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with serving(tmp_path) as served, talking(served) as talk:
        monkeypatch.setattr(AccessLog, "finish", lambda *_, **__: 1 / 0)
        assert (await talk.answer(post(ONE)))[0] == 200
        monkeypatch.undo()
        assert json.loads((await talk.answer(HEALTH))[2]) == {"status": "ok"}
    assert len(failed) == 1


async def test_a_client_that_hangs_up_leaves_what_it_published_and_holds_no_room(
    tmp_path: Path, store: WaitingStore
) -> None:
    async with serving(tmp_path, store) as served, talking(served) as other:
        async with talking(served) as talk:
            talk.writer.write(post(MANY))
            await store.begun.wait()
        await until_read(other, b"", other)
        store.let_go.set()
        _, _, body = await other.answer(post(MANY))
        assert json.loads(body)["duplicate_dropped"] == 6


async def test_at_the_end_a_publish_under_way_is_stored_and_answered(
    tmp_path: Path, store: WaitingStore
) -> None:
    async with under_way(tmp_path, store, post(ONE)) as (served, talk, _):
        connection = served.connections[0]
        assert isinstance(connection, FastConnection)
        ending = asyncio.create_task(served.close())
        while not connection._closing:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        store.let_go.set()
        assert (await talk.answer())[0] == 200
        assert await talk.ended()
        await ending


@pytest.mark.parametrize("name", ["an array", "invalid", "lenient", "lenient and none valid"])
async def test_the_room_of_a_publish_is_given_back(tmp_path: Path, name: str) -> None:
    async with serving(
        tmp_path,
        queue_max_events=6,
        max_batch_events=6,
        queue_max_bytes=2000,
        max_body_bytes=2000,
    ) as served:
        async with talking(served) as talk:
            for _ in range(20):
                assert (await talk.answer(PUBLISHES[name]))[0] in {200, 422}
            assert (await talk.answer(PUBLISHES["an array"]))[0] == 200
        assert served.requests == 0


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        ({"queue_max_events": 6, "max_batch_events": 6}, "6 events wait"),
        ({"queue_max_bytes": len(MANY), "max_body_bytes": len(MANY)}, "bytes wait"),
    ],
)
async def test_while_there_is_no_room_a_publish_is_refused(
    tmp_path: Path, store: WaitingStore, room: dict[str, Any], reason: str
) -> None:
    async with under_way(tmp_path, store, post(MANY), **room) as (served, talk, other):
        status, _, body = await other.answer(post(MANY))
        assert status == 503
        assert reason in json.loads(body)["detail"]
        store.let_go.set()
        assert (await talk.answer())[0] == 200
        assert (await other.answer(post(MANY)))[0] == 200
        assert served.requests == 0


async def test_of_what_comes_behind_a_publish_little_is_held(
    tmp_path: Path, store: WaitingStore
) -> None:
    async with under_way(tmp_path, store, post(ONE)) as (served, talk, other):
        connection = served.connections[0]
        assert isinstance(connection, FastConnection)
        talk.writer.write(HEALTH * 300_000)
        while not connection._held:
            await other.answer(HEALTH)
        for _ in range(100):
            await other.answer(HEALTH)
        assert len(connection._held) < 1_000_000
