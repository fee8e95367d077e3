"""A peer of subscriptions: a pull consumer of NATS JetStream that acknowledges every message.

    python -m benchmarks.peer_jetstream_consuming URL MESSAGES FETCH

A new durable consumer takes the stream of `peer_jetstream_reading` from its start, so many messages
a fetch, parses each and acknowledges each on its own (ack policy `explicit`, `await msg.ack()`).
It has ended when the server holds all of them for acknowledged. The acknowledgements are not
confirmed one by one (`ack_sync`), and the server does not sync them.
"""

import json
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from benchmarks.client_result import report
from benchmarks.peer_jetstream_reading import STREAM, SUBJECT

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_LIMIT_S = 10.0


async def main(url: str, expected: int, fetch: int) -> None:
    """Take and acknowledge all messages, check what the server counted, and report the time."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        durable = f"consumer-{time.time_ns()}"
        consumer = await stream.pull_subscribe(
            SUBJECT,
            durable=durable,
            config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=4 * fetch),
        )
        numbers: list[int] = []
        cpu_s, begun = time.process_time(), time.perf_counter()
        while len(numbers) < expected:
            messages = await consumer.fetch(min(fetch, expected - len(numbers)), timeout=_LIMIT_S)
            for message in messages:
                numbers.append(json.loads(message.data)["payload"]["number"])
                await message.ack()
        await _acknowledged(stream, durable, expected)
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
        await consumer.unsubscribe()
        await stream.delete_consumer(STREAM, durable)
    finally:
        await client.close()
    if numbers != list(range(numbers[0], numbers[0] + expected)):
        raise SystemExit("the messages did not come once each, in the order of their publishing")
    report(seconds=seconds, cpu_s=cpu_s)


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
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
