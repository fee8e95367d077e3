"""Any sequence of requests, good and bad, leaves exactly what was confirmed."""

import asyncio
import gzip
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.backends import Database
from support.http import Client
from support.observer import Observer
from support.reference import Reference
from support.strategies import Pool, pools

from aggregator.app import create_app
from aggregator.settings.model import Settings
from storage.model import Event

_NOON_US = 1_769_860_800_000_000
_NOON = "2026-01-31T12:00:00Z"

_SPOILERS: list[Callable[[dict[str, str]], object]] = [
    lambda fields: fields.pop("topic"),
    lambda fields: fields.pop("payload"),
    lambda fields: fields.update(topic='"not a topic"'),
    lambda fields: fields.update(topic="17"),
    lambda fields: fields.update(event_id='""'),
    lambda fields: fields.update(event_id=f'"{"x" * 257}"'),
    lambda fields: fields.update(event_id='"a\\u0000b"'),
    lambda fields: fields.update(source='"\\ud800"'),
    lambda fields: fields.update(timestamp='"yesterday"'),
    lambda fields: fields.update(timestamp='"2026-02-30T12:00:00Z"'),
    lambda fields: fields.update(payload="[]"),
    lambda fields: fields.update(payload='"{}"'),
    lambda fields: fields.update(surplus="1"),
]


class Sent:
    """An event as it goes over the wire; `event` is None if it breaks a rule."""

    def __init__(self, event: Event, spoiler: Callable[[dict[str, str]], object] | None) -> None:
        self.event = None if spoiler else event
        fields = {
            "topic": json.dumps(event.topic),
            "event_id": json.dumps(event.event_id),
            "timestamp": f'"{_NOON}"',
            "source": json.dumps(event.source),
            # In NDJSON an event is one line.
            "payload": event.payload.replace("\n", " ").replace("\r", " "),
        }
        if spoiler:
            spoiler(fields)
        self.text = "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"

    def __repr__(self) -> str:
        return ("bad " if self.event is None else "") + self.text


def _as_sent(event: Event) -> Event:
    payload = event.payload.replace("\n", " ").replace("\r", " ").strip()
    return Event(event.topic, event.event_id, _NOON_US, event.source, payload)


def _requests(pool: Pool) -> st.SearchStrategy[list[Sent]]:
    spoilers = st.just(None) | st.just(None) | st.just(None) | st.sampled_from(_SPOILERS)
    return st.lists(st.builds(Sent, pool.events().map(_as_sent), spoilers), min_size=1, max_size=6)


def _body(sent: list[Sent], form: str) -> bytes:
    texts = [one.text for one in sent]
    if form == "ndjson":
        return "\n\n".join(texts).encode()
    array = f"[{','.join(texts)}]"
    return (array if form == "array" else f' {{"events": {array} }}').encode()


class HttpMachine(RuleBasedStateMachine):
    """The application on a database, beside a reference that sees the valid events only."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.reference = Reference()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    @initialize(pool=pools())
    def serve(self, pool: Pool) -> None:
        self.pool = pool
        self.runner.run(self._serve())

    async def _serve(self) -> None:
        server = TestServer(create_app(Settings.from_values(self.database.settings())))
        self.client: Client = TestClient(server)
        await server.start_server(auto_decompress=False)
        await self.client.start_server()
        self.stack.push_async_callback(self.client.close)
        self.observer = await self.stack.enter_async_context(Observer.on(self.database))
        await self.observer.empty()

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @rule(
        data=st.data(),
        form=st.sampled_from(["array", "envelope", "ndjson"]),
        lenient=st.booleans(),
        minimal=st.booleans(),
        compressed=st.booleans(),
    )
    def publish(
        self, data: st.DataObject, form: str, lenient: bool, minimal: bool, compressed: bool
    ) -> None:
        sent = data.draw(_requests(self.pool))
        prefer = ["handling=lenient"] * lenient + ["return=minimal"] * minimal
        media = "application/x-ndjson" if form == "ndjson" else "application/json"
        headers = {"Content-Type": media, "Prefer": ", ".join(prefer)}
        body = _body(sent, form)
        if compressed:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        status, answer = self.runner.run(self._post(body, headers))
        bad = [index for index, one in enumerate(sent) if one.event is None]
        if bad and not lenient:
            assert status == 422, answer
            assert {error["index"] for error in answer["errors"]} == set(bad)
            return
        assert status == 200, answer
        self._assert_answer(answer, sent, minimal=minimal)

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        async with self.client.post("/publish", data=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    def _assert_answer(self, answer: dict[str, Any], sent: list[Sent], *, minimal: bool) -> None:
        valid = [one.event for one in sent if one.event is not None]
        told = self.reference.publish(valid)
        statuses = [verdict.status for verdict in told]
        expected = {
            "received": len(valid),
            "unique_processed": statuses.count("stored"),
            "duplicate_dropped": len(valid) - statuses.count("stored"),
            "conflicts": statuses.count("conflict"),
        }
        assert {name: answer[name] for name in expected} == expected
        assert answer.get("rejected", 0) == len(sent) - len(valid)
        results = answer.get("results", [])
        rejected = [result["index"] for result in results if result["status"] == "rejected"]
        assert rejected == [index for index, one in enumerate(sent) if one.event is None]
        stored = [result for result in results if result["status"] != "rejected"]
        assert stored == ([] if minimal else [verdict._asdict() for verdict in told])

    @rule(body=st.sampled_from([b"", b"{", b"[]", b'{"events":[]}', b"\xff", b"[1]", b"null"]))
    def publish_nonsense(self, body: bytes) -> None:
        status, answer = self.runner.run(self._post(body, {"Content-Type": "application/json"}))
        assert status in {400, 422}, answer

    @rule()
    def read_everything(self) -> None:
        for topic, log in self.reference.logs.items():
            got = self.runner.run(self._get(f"/events?topic={topic}&after=0&limit=5000"))
            ids = [(event["event_id"], event["offset"]) for event in got]
            assert ids == [(event.event_id, n) for n, event in enumerate(log, start=1)]

    async def _get(self, path: str) -> Any:
        async with self.client.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    @invariant()
    def stats_and_database_are_as_the_reference_says(self) -> None:
        snapshot = self.runner.run(self.observer.snapshot())
        snapshot.assert_sound()
        counts = self.reference.counts()
        assert snapshot.counts == counts
        rows = [
            (r.topic, r.offset, r.event_id, r.timestamp_us, r.source, r.payload)
            for r in snapshot.rows
        ]
        assert rows == self.reference.rows()
        stats = self.runner.run(self._get("/stats"))
        names = ("received", "unique_processed", "duplicate_dropped", "conflicts")
        assert {
            topic: tuple(of[name] for name in names) for topic, of in stats["topics"].items()
        } == counts
        assert all(of["head_offset"] == of["unique_processed"] for of in stats["topics"].values())
        for position, name in enumerate(names):
            assert stats[name] == sum(four[position] for four in counts.values())
        assert stats["received"] == stats["unique_processed"] + stats["duplicate_dropped"]


@pytest.mark.timeout(3600)
def test_only_confirmed_events_are_stored_and_counted(database: Database) -> None:
    run_state_machine_as_test(
        cast("type[HttpMachine]", lambda: HttpMachine(database)),
        settings=settings(max_examples=settings().max_examples // 3),
    )
