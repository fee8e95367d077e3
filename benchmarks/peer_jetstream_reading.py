"""A peer of reading: a pull consumer of NATS JetStream that parses every message.

    python -m benchmarks.peer_jetstream_reading URL MESSAGES

A new durable consumer reads the stream from its start, 1,000 messages a fetch. It acknowledges the
last of them, which acknowledges all before it (ack policy `all`): the least that it can do.
"""

import json
import sys
import time
from collections.abc import Sequence

import uvloop

from benchmarks.client_result import report
from benchmarks.workload import Row, encode

STREAM = "reading"
SUBJECT = "reading.topic"
_FETCH = 1_000
_LIMIT_S = 10.0


async def fill(url: str, rows: Sequence[Row]) -> None:
    """Publish the events into a stream in a file."""
    import nats
    from nats.js.api import StorageType, StreamConfig

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        await stream.add_stream(
            StreamConfig(name=STREAM, subjects=[SUBJECT], storage=StorageType.FILE)
        )
        for acknowledged in [await stream.publish_async(SUBJECT, encode(row)) for row in rows]:
            await acknowledged
    finally:
        await client.close()


async def main(url: str, expected: int) -> None:
    """Read all messages, check that they come in order, and report the time it took."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    client = await nats.connect(url)
    try:
        consumer = await client.jetstream().pull_subscribe(
            SUBJECT,
            durable=f"reader-{time.time_ns()}",
            config=ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=4 * _FETCH),
        )
        read = 0
        numbers: list[int] = []
        cpu_s, begun = time.process_time(), time.perf_counter()
        while read < expected:
            messages = await consumer.fetch(min(_FETCH, expected - read), timeout=_LIMIT_S)
            events = [json.loads(message.data) for message in messages]
            read += len(events)
            numbers += [event["payload"]["number"] for event in events]
            await messages[-1].ack()
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
        await consumer.unsubscribe()
    finally:
        await client.close()
    if numbers != list(range(numbers[0], numbers[0] + expected)):
        raise SystemExit("the messages did not come in the order in which they were published")
    report(seconds=seconds, cpu_s=cpu_s)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
