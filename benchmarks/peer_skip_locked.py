"""A peer of consumers: a table of Postgres as a queue, by SELECT … FOR UPDATE SKIP LOCKED.

    python -m benchmarks.peer_skip_locked DSN EVENTS CONSUMERS delete|status effects|none

Consumers take 100 rows at a time, each on a connection of its own. The effects are in the database
of the queue, and committed with it, so that each event has one effect whatever crashes.

- `delete`: one transaction takes the rows out of the queue, and has their effects.
- `status`: one transaction marks the rows as taken, so that no transaction is open while they are
  worked on; another has the effects and marks the rows as done, if they are still its own.
"""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import uvloop

from benchmarks import effects
from benchmarks.consuming import Tally, consume
from benchmarks.workload import Row, encode

if TYPE_CHECKING:
    from benchmarks.effects import Connection

_TABLES = {
    "delete": """
CREATE TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event text NOT NULL)""",
    "status": """
CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL,
    status text NOT NULL DEFAULT 'waiting',
    taken_by text,
    taken_at timestamptz,
    tries integer NOT NULL DEFAULT 0
);
CREATE INDEX queue_waiting ON queue (id) WHERE status = 'waiting'""",
}

# The subquery is an array, so that it is run once: under IN it may be run for each row of an outer
# loop, and then it takes more than its limit.
_DELETE = """
DELETE FROM queue WHERE id = ANY (ARRAY(
    SELECT id FROM queue ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING event"""

_TAKE = """
UPDATE queue SET status = 'taken', taken_by = $2, taken_at = now(), tries = tries + 1
WHERE id = ANY (ARRAY(
    SELECT id FROM queue WHERE status = 'waiting' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING id, event"""

_DONE = """
UPDATE queue SET status = 'done'
WHERE id = ANY ($1) AND status = 'taken' AND taken_by = $2"""

_LEFT = {
    "delete": "SELECT count(*) FROM queue",
    "status": "SELECT count(*) FROM queue WHERE status <> 'done'",
}


async def fill(dsn: str, rows: Sequence[Row], how: str) -> None:
    """Make the queue in a database as one way needs it, and put the events into it."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_TABLES[how])
        records = [(encode(row).decode(),) for row in rows]
        await connection.copy_records_to_table("queue", records=records, columns=["event"])
        await connection.execute("VACUUM ANALYZE queue")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _by_delete(
    connection: "Connection", _name: str, tally: Tally, *, with_effects: bool
) -> None:
    while asked := tally.ask():
        begun = time.perf_counter()
        async with connection.transaction():
            found = await connection.fetch(_DELETE, asked)
            payloads = [json.loads(event)["payload"] for (event,) in found]
            if with_effects:
                await effects.write(connection, payloads)
        tally.took(asked, [payload["number"] for payload in payloads], begun)


async def _by_status(
    connection: "Connection", name: str, tally: Tally, *, with_effects: bool
) -> None:
    while asked := tally.ask():
        begun = time.perf_counter()
        found = await connection.fetch(_TAKE, asked, name)
        payloads = [json.loads(event)["payload"] for _, event in found]
        numbers = [number for number, _ in found]
        if with_effects:
            async with connection.transaction():
                await effects.write(connection, payloads)
                await _done(connection, numbers, name)
        else:
            await _done(connection, numbers, name)
        tally.took(asked, [payload["number"] for payload in payloads], begun)


async def _done(connection: "Connection", numbers: Sequence[int], name: str) -> None:
    done = await connection.execute(_DONE, numbers, name)
    if done != f"UPDATE {len(numbers)}":
        raise SystemExit(f"of {len(numbers)} rows: {done}")


_WAYS = {"delete": _by_delete, "status": _by_status}


async def main(dsn: str, expected: int, count: int, how: str, *, with_effects: bool) -> None:
    """Take all rows, check what is left in the queue, and report the time."""
    tally = Tally(expected)
    async with AsyncExitStack() as stack:
        consumers = []
        for number in range(count):
            connection = await asyncpg.connect(dsn)
            stack.push_async_callback(connection.close)
            way = partial(_WAYS[how], connection, f"consumer-{number}", tally)
            consumers.append(partial(way, with_effects=with_effects))
        await consume(tally, consumers)
        if left := await connection.fetchval(_LEFT[how]):
            raise SystemExit(f"{left} events are left in the queue")


if __name__ == "__main__":
    _, _dsn, _expected, _count, _how, _effects = sys.argv
    uvloop.run(main(_dsn, int(_expected), int(_count), _how, with_effects=_effects == "effects"))
