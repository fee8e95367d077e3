"""One consumer of a subscription, by hand or by the library.

    python -m benchmarks.library_ways_client PORT NAME EVENTS turns|carried|run|loop|batches

By hand it is what one would write with aiohttp: JSON both ways, and ranges of offsets.
Each looks at the payload of every event. The time ends when all is acknowledged.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import uvloop

from benchmarks.client_result import report
from subscriber import Batch, Delivery, Subscriber

AT_ONCE = 100

_LIMIT_S = 600.0


class WrongCount(Exception):
    """Other events came than were expected."""


class _Seen:
    """Counts events, and looks at each."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self._sum = 0

    def look(self, payload: dict[str, Any]) -> None:
        self._sum += payload["number"]
        self.count += 1

    def check(self) -> None:
        if self.count != self.expected:
            raise WrongCount(f"{self.count} events came, not {self.expected}")


async def _by_hand(url: str, name: str, seen: _Seen, *, carries: bool) -> None:
    base, settle = f"{url}/subscriptions/{name}", None
    async with aiohttp.ClientSession() as session:
        while seen.count < seen.expected:
            asked = {"consumer": "by hand", "max_events": AT_ONCE, "wait_ms": 1000}
            if settle and carries:
                asked["settle"] = settle
            async with session.post(f"{base}/lease", json=asked) as response:
                leased = await response.json()
            settle = _settle_of(leased, seen)
            if not carries:
                await _settle(session, base, settle)
        if carries and settle:
            await _settle(session, base, settle)


async def _settle(session: aiohttp.ClientSession, base: str, settle: dict[str, Any]) -> None:
    async with session.post(f"{base}/settle", json=settle) as response:
        await response.json()


def _settle_of(leased: dict[str, Any], seen: _Seen) -> dict[str, Any]:
    ranges: dict[str, list[Any]] = {}
    for delivery in leased["deliveries"]:
        event = delivery["event"]
        seen.look(event["payload"])
        topic, offset = event["topic"], event["offset"]
        # One topic, in order, without a filter: what came is one range.
        ranges.setdefault(topic, [topic, offset, offset])[2] = offset
    return {"lease": leased["lease"], "ack": list(ranges.values())}


async def _run(url: str, name: str, seen: _Seen) -> None:
    async def handle(delivery: Delivery) -> None:
        seen.look(delivery.event.payload)

    async with Subscriber(url, name, max_events=AT_ONCE) as subscriber:
        await subscriber.run(handle, until_caught_up=True)


async def _loop(url: str, name: str, seen: _Seen) -> None:
    async with Subscriber(url, name, max_events=AT_ONCE) as subscriber:
        async for delivery in subscriber:
            seen.look(delivery.event.payload)
            if seen.count == seen.expected:
                subscriber.stop()


async def _batches(url: str, name: str, seen: _Seen) -> None:
    async def handle(batch: Batch) -> None:
        for event in batch.events:
            seen.look(event.payload)

    async with Subscriber(url, name, max_events=AT_ONCE) as subscriber:
        await subscriber.run_batches(handle, AT_ONCE, until_caught_up=True)


async def _main(arguments: Sequence[str]) -> None:
    port, name, expected, how = arguments
    url, seen = f"http://127.0.0.1:{port}", _Seen(int(expected))
    ways = {"run": _run, "loop": _loop, "batches": _batches}
    cpu_s, begun = time.process_time(), time.perf_counter()
    async with asyncio.timeout(_LIMIT_S):
        if how in ways:
            await ways[how](url, name, seen)
        else:
            await _by_hand(url, name, seen, carries=how == "carried")
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    seen.check()
    report(seconds=seconds, cpu_s=cpu_s, cycles_s=[], refused=0)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1:]))
