"""A peer of consumers: pull consumers of NATS JetStream, which acknowledge each message.

    python -m benchmarks.peer_jetstream_settling URL MESSAGES CONSUMERS ack|double DSN

They take the stream of `peer_jetstream_reading` by one durable consumer (policy `explicit`), 100
messages a fetch, each on a connection of its own. With a DSN each message has an effect, and is
acknowledged after it: a crash between the two lets it happen again.

- `ack`: `await msg.ack()`, for which nothing answers; they have ended when the server holds all
  messages for acknowledged.
- `double`: `await msg.ack_sync()`, which the server answers; for all messages of a fetch at once,
  since one after the other they would take as many round trips.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from benchmarks import effects
from benchmarks.consuming import AT_ONCE, Tally, consume
from benchmarks.peer_jetstream_reading import STREAM, SUBJECT

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_LIMIT_S = 20.0


class _Consumer:
    def __init__(
        self, stream: "JetStreamContext", durable: str, connection: "effects.Connection | None"
    ) -> None:
        self._stream = stream
        self._durable = durable
        self._connection = connection

    async def run(self, tally: Tally, how: str) -> None:
        """Take messages until none are left."""
        consumer = await self._stream.pull_subscribe_bind(self._durable, STREAM)
        while asked := tally.ask():
            begun = time.perf_counter()
            messages = await consumer.fetch(asked, timeout=_LIMIT_S)
            payloads = [json.loads(message.data)["payload"] for message in messages]
            await effects.write(self._connection, payloads)
            if how == "double":
                await asyncio.gather(*(each.ack_sync(timeout=_LIMIT_S) for each in messages))
            else:
                for message in messages:
                    await message.ack()
            tally.took(asked, [payload["number"] for payload in payloads], begun)
        await consumer.unsubscribe()


async def main(url: str, expected: int, count: int, how: str, dsn: str) -> None:
    """Take and acknowledge all messages, check what the server counted, and report the time."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    durable, tally = f"consumer-{time.time_ns()}", Tally(expected)
    async with AsyncExitStack() as stack:
        streams: list[JetStreamContext] = []
        for _ in range(count):
            client = await nats.connect(url)
            stack.push_async_callback(client.close)
            streams.append(client.jetstream())
        await streams[0].add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name=durable,
                filter_subject=SUBJECT,
                ack_policy=AckPolicy.EXPLICIT,
                max_ack_pending=4 * AT_ONCE * count,
            ),
        )
        consumers = [
            _Consumer(each, durable, await stack.enter_async_context(effects.connected(dsn)))
            for each in streams
        ]
        settled = partial(_acknowledged, streams[0], durable, expected)
        await consume(tally, [partial(each.run, tally, how) for each in consumers], settled)
        await streams[0].delete_consumer(STREAM, durable)


async def _acknowledged(stream: "JetStreamContext", durable: str, expected: int) -> None:
    """Ask until the server holds so many messages for acknowledged, and none for delivered only."""
    deadline = time.monotonic() + _LIMIT_S
    while True:
        found = await stream.consumer_info(STREAM, durable)
        upto = found.ack_floor.consumer_seq if found.ack_floor else 0
        if (upto, found.num_ack_pending, found.num_redelivered) == (expected, 0, 0):
            return
        if time.monotonic() > deadline:
            raise SystemExit(
                f"{upto} messages are acknowledged, {found.num_ack_pending} are not and "
                f"{found.num_redelivered} came again; {expected} were acknowledged once each"
            )


if __name__ == "__main__":
    _, _url, _expected, _count, _how, _dsn = sys.argv
    uvloop.run(main(_url, int(_expected), int(_count), _how, _dsn))
