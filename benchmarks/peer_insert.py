"""A peer: an insert for each event, as people write it with FastAPI, asyncpg and Postgres.

    python -m benchmarks.peer_insert DSN    # prints its port

A request is one transaction of a pooled connection: `INSERT ... ON CONFLICT DO NOTHING` for one
event after the other, and last the counts, which are one row. Publishers that send the same ids in
other orders would lock each other out in the middle (a deadlock, which Postgres ends with an error
after a second), so that a request's events are sorted by their key first. No offsets, no verdicts.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

_SCHEMA = """
CREATE TABLE events (
    topic text NOT NULL, event_id text NOT NULL, timestamp timestamptz NOT NULL,
    source text NOT NULL, payload jsonb NOT NULL, PRIMARY KEY (topic, event_id)
);
CREATE TABLE counts (received bigint NOT NULL, unique_processed bigint NOT NULL);
INSERT INTO counts VALUES (0, 0)"""

_INSERT = "INSERT INTO events VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
_COUNT = "UPDATE counts SET received = received + $1, unique_processed = unique_processed + $2"


class Event(BaseModel):
    """The event that is published."""

    topic: str
    event_id: str
    timestamp: datetime
    source: str
    payload: dict[str, Any]


class _Service:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(self._dsn) as self._pool:
            await self._pool.execute(_SCHEMA)
            yield

    async def publish(self, published: Event | list[Event]) -> dict[str, int]:
        events = published if isinstance(published, list) else [published]
        new = 0
        async with self._pool.acquire() as connection, connection.transaction():
            for event in sorted(events, key=lambda event: (event.topic, event.event_id)):
                payload = json.dumps(event.payload)
                done = await connection.execute(
                    _INSERT, event.topic, event.event_id, event.timestamp, event.source, payload
                )
                new += done == "INSERT 0 1"
            await connection.execute(_COUNT, len(events), new)
        return {"received": len(events), "unique_processed": new}

    async def stats(self) -> dict[str, int]:
        ((received, unique),) = await self._pool.fetch("SELECT * FROM counts")
        stored = await self._pool.fetchval("SELECT count(*) FROM events")
        if stored != unique:
            raise AssertionError(f"{stored} events are stored, {unique} are counted")
        return {
            "received": received,
            "unique_processed": unique,
            "duplicate_dropped": received - unique,
        }


def _app(dsn: str) -> FastAPI:
    service = _Service(dsn)
    app = FastAPI(lifespan=service.lifespan)
    app.add_api_route("/publish", service.publish, methods=["POST"])
    app.add_api_route("/stats", service.stats)
    return app


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        configured = uvicorn.Config(_app(sys.argv[1]), log_level="warning", access_log=False)
        uvicorn.Server(configured).run(sockets=[listening])
