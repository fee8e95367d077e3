"""Consumers of a subscription by the library: `Subscriber.run_batches`, and `checkpoint`.

    python -m benchmarks.library_client PORT NAME EVENTS CONSUMERS DSN

Each is a `Subscriber` with its defaults, whose handler is given 100 events at a time. With a DSN it
inserts a row for each of them in the transaction of a checkpoint, so that an event has one effect,
however often it is delivered. The time ends when all of them have left their contexts, so that
everything is acknowledged.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from benchmarks import effects
from benchmarks.client_result import report
from benchmarks.consuming import AT_ONCE, Tally
from subscriber import Batch, Subscriber
from subscriber.checkpoints import checkpoint, create_checkpoint_table

_LIMIT_S = 600.0


class _Consumer:
    def __init__(
        self, subscriber: Subscriber, database: "effects.Connection | None", tally: Tally
    ) -> None:
        self.subscriber = subscriber
        self._database = database
        self._tally = tally

    async def run(self, all_of_them: Sequence["_Consumer"]) -> None:
        """Take events until none are left for anybody."""

        async def handle(batch: Batch) -> None:
            begun = time.perf_counter()
            await self._work(batch)
            numbers = [event.payload["number"] for event in batch.events]
            self._tally.took(len(numbers), numbers, begun)
            if self._tally.is_complete:
                for each in all_of_them:
                    each.subscriber.stop()

        await self.subscriber.run_batches(handle, AT_ONCE)

    async def _work(self, batch: Batch) -> None:
        if self._database is None:
            return
        async with checkpoint(self._database, self.subscriber.name, batch) as fresh:
            await effects.write(self._database, [event.payload for event in fresh])


async def main(port: int, name: str, expected: int, count: int, dsn: str) -> None:
    """Take and settle all events, and report the time."""
    tally = Tally(expected)
    async with AsyncExitStack() as databases, asyncio.timeout(_LIMIT_S):
        connections = [
            await databases.enter_async_context(effects.connected(dsn)) for _ in range(count)
        ]
        if connections[0] is not None:
            await create_checkpoint_table(connections[0])
        cpu_s, begun = time.process_time(), time.perf_counter()
        async with AsyncExitStack() as subscribers:
            consumers = [
                _Consumer(
                    await subscribers.enter_async_context(
                        Subscriber(f"http://127.0.0.1:{port}", name)
                    ),
                    *(connection, tally),
                )
                for connection in connections
            ]
            await asyncio.gather(*(each.run(consumers) for each in consumers))
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    tally.check()
    report(seconds=seconds, cpu_s=cpu_s, cycles_s=[], refused=0)


if __name__ == "__main__":
    _, _port, _name, _expected, _count, _dsn = sys.argv
    uvloop.run(main(int(_port), _name, int(_expected), int(_count), _dsn))
