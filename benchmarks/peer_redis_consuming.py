"""A peer of consumers: a consumer group of a Redis stream.

    python -m benchmarks.peer_redis_consuming URL ENTRIES CONSUMERS DSN

Consumers of a new group take the stream from its start, 100 entries a call (`XREADGROUP … >`), each
on a connection of its own, and acknowledge those of a call by one `XACK`. With a DSN each entry has
an effect, and is acknowledged after it: a crash between the two lets it happen again.
"""

import json
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import effects
from benchmarks.consuming import Tally, consume
from benchmarks.peer_redis import STREAM

if TYPE_CHECKING:
    from redis.asyncio import Redis


class _Consumer:
    def __init__(
        self, client: "Redis", group: str, name: str, connection: "effects.Connection | None"
    ) -> None:
        self._client = client
        self._group = group
        self._name = name
        self._connection = connection

    async def run(self, tally: Tally) -> None:
        """Take entries until none are left."""
        while asked := tally.ask():
            begun = time.perf_counter()
            ((_, entries),) = await self._client.xreadgroup(
                self._group, self._name, {STREAM: ">"}, count=asked
            )
            payloads = [json.loads(fields[b"event"])["payload"] for _, fields in entries]
            await effects.write(self._connection, payloads)
            acknowledged = await self._client.xack(
                STREAM, self._group, *(entry for entry, _ in entries)
            )
            if acknowledged != len(entries):
                raise SystemExit(f"of {len(entries)} entries {acknowledged} are acknowledged")
            tally.took(asked, [payload["number"] for payload in payloads], begun)


async def main(url: str, expected: int, count: int, dsn: str) -> None:
    """Take and acknowledge all entries, check what the server counted, and report the time."""
    from redis.asyncio import Redis

    group, tally = f"group-{time.time_ns()}", Tally(expected)
    async with AsyncExitStack() as stack:
        consumers: list[_Consumer] = []
        for number in range(count):
            client = await stack.enter_async_context(Redis.from_url(url, protocol=2))
            connection = await stack.enter_async_context(effects.connected(dsn))
            consumers.append(_Consumer(client, group, f"consumer-{number}", connection))
        # The last one's client also looks after the group.
        await client.xgroup_create(STREAM, group, id="0")
        await consume(tally, [partial(each.run, tally) for each in consumers])
        await _check(client, group, expected)
        await client.xgroup_destroy(STREAM, group)


async def _check(client: "Redis", group: str, expected: int) -> None:
    groups: list[dict[str, Any]] = await client.xinfo_groups(STREAM)
    (found,) = [each for each in groups if each["name"] == group.encode()]
    if (found["entries-read"], found["pending"], found["lag"]) != (expected, 0, 0):
        raise SystemExit(f"{expected} entries were acknowledged, but the group says {found}")


if __name__ == "__main__":
    _, _url, _expected, _count, _dsn = sys.argv
    uvloop.run(main(_url, int(_expected), int(_count), _dsn))
