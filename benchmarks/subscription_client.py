"""Consumers of a subscription in one process: each leases events, parses every one, and settles.

    python -m benchmarks.subscription_client PORT NAME EVENTS AT_ONCE CONSUMERS turns|carried|ahead

It says when it begins, and ends when so many events are settled. Each consumer has a connection of
its own that it keeps, and leases AT_ONCE events at most. It acknowledges the ranges of offsets that
it found in the events.

- `turns`: it asks for the next lease when its settle was answered.
- `carried`: the request for a lease carries the settle of the one before.
- `ahead`: the same, but it asks for the next lease before it parses the one that it has, so that it
  has two at times. That needs `order: "none"`, or another topic to take from.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import uvloop

from benchmarks.client_result import report
from benchmarks.driving import Connection, connect, request

WAIT_MS = 20_000
"""How long the lease of a lone consumer may wait for events."""

_LIMIT_S = 600.0
_REFUSED_PAUSE_S = 0.05

Range = tuple[str, int, int]


class Unexpected(Exception):
    """An answer is not that of a subscription which is consumed undisturbed."""


class Batch(NamedTuple):
    """The events of a lease."""

    lease: str
    ranges: Sequence[Range]
    """Topics with the first and the last offset of events that follow one another."""
    events: int


class Tally:
    """What the consumers of a subscription were given, and what they have settled.

    Args:
        expected: the number of events to settle.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.taken = 0
        self.settled = 0
        self.max_lag = 0
        """The most events that were leased or waiting when a lease was given."""
        self.refused = 0
        self.cycles_s: list[float] = []
        """The time of each lease with its settle in seconds."""
        self.ranges: list[Range] = []
        """In the order in which they came."""
        self.done = asyncio.Event()

    def take(self, answer: dict[str, Any]) -> Batch | None:
        """Take the events of the answer to a lease; None if it has none."""
        self.max_lag = max(self.max_lag, answer["lag"]["events"])
        if answer["lease"] is None:
            return None
        ranges: list[Range] = []
        topic, first, last = "", 0, -1
        for delivery in answer["deliveries"]:
            event = delivery["event"]
            if delivery["delivery"] != 1:
                raise Unexpected(f"{event['topic']}/{event['offset']} came again")
            if event["offset"] == last + 1 and event["topic"] == topic:
                last += 1
                continue
            if topic:
                ranges.append((topic, first, last))
            topic, first = event["topic"], event["offset"]
            last = first
        ranges.append((topic, first, last))
        self.ranges += ranges
        events = len(answer["deliveries"])
        self.taken += events
        return Batch(answer["lease"], ranges, events)

    def settle(self, batch: Batch, answer: dict[str, Any]) -> None:
        """Count a settle."""
        if answer["acknowledged"] != batch.events:
            raise Unexpected(f"of {batch.events} events {answer['acknowledged']} are acknowledged")
        self.settled += batch.events
        if self.settled >= self.expected:
            self.done.set()

    def check(self, *, in_order: bool) -> None:
        """Check that each event came once, and in the order of the topics if that is promised."""
        if self.taken != self.expected or self.settled != self.expected:
            raise Unexpected(
                f"{self.taken} events came and {self.settled} were settled, not {self.expected}"
            )
        ends: dict[str, int] = defaultdict(int)
        for topic, first, last in self.ranges if in_order else sorted(self.ranges):
            if ends[topic] and first != ends[topic] + 1:
                raise Unexpected(f"{topic}: behind offset {ends[topic]} came {first}")
            ends[topic] = last


class Consumer:
    """Leases and settles events of a subscription.

    Args:
        name: of the subscription.
        label: of the consumer.
        at_once: events of a lease at most.
        wait_ms: how long a lease may wait for events.
        connection: its connection.
        tally: counts what comes.
    """

    def __init__(
        self,
        name: str,
        label: str,
        at_once: int,
        wait_ms: int,
        connection: Connection,
        tally: Tally,
    ) -> None:
        self._path = f"/subscriptions/{name}"
        self._label = label
        self._at_once = at_once
        self._wait_ms = wait_ms
        self._connection = connection
        self._tally = tally

    async def in_turns(self) -> None:
        """Lease and settle until all were taken."""
        while self._left:
            begun = time.perf_counter()
            if batch := self._taken(await self._lease(), None):
                await self._settle(batch)
                self._tally.cycles_s.append(time.perf_counter() - begun)

    async def carried(self) -> None:
        """Do the same with one request each, and one more for the last settle."""
        batch = None
        while self._left:
            begun = time.perf_counter()
            batch = self._taken(await self._lease(batch), batch)
            self._tally.cycles_s.append(time.perf_counter() - begun)
        if batch:
            await self._settle(batch)

    async def ahead(self) -> None:
        """Do the same, and ask for the next lease before the one that came is parsed."""
        loop = asyncio.get_running_loop()
        carried = batch = None
        body = await self._lease()
        while self._left:
            begun = time.perf_counter()
            leasing = loop.create_task(self._lease(batch))
            # It is sent before this one is parsed: uvloop writes when it has run what was ready.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            carried, batch = batch, self._taken(body, carried)
            body = await leasing
            self._tally.cycles_s.append(time.perf_counter() - begun)
        self._taken(body, carried)
        if batch:
            await self._settle(batch)

    @property
    def _left(self) -> int:
        return max(0, self._tally.expected - self._tally.taken)

    async def _lease(self, settled: Batch | None = None) -> bytes:
        asked: dict[str, object] = {
            "consumer": self._label,
            "max_events": min(self._at_once, self._left or 1),
            "wait_ms": self._wait_ms,
        }
        if settled:
            asked["settle"] = _settle_of(settled)
        return await self._post("lease", asked)

    def _taken(self, body: bytes, settled: Batch | None) -> Batch | None:
        """Parse the answer to a lease that carried a settle or not."""
        answer = json.loads(body)
        if settled:
            self._tally.settle(settled, answer["settled"])
        return self._tally.take(answer)

    async def _settle(self, batch: Batch) -> None:
        self._tally.settle(batch, json.loads(await self._post("settle", _settle_of(batch))))

    async def _post(self, what: str, asked: object) -> bytes:
        sent = request(json.dumps(asked).encode(), f"{self._path}/{what}")
        while True:
            status, body = await self._connection.exchange(sent)
            if status == 200:
                return body
            if status != 503:
                raise Unexpected(f"a {what} was answered {status}: {body[:300]!r}")
            self._tally.refused += 1
            await asyncio.sleep(_REFUSED_PAUSE_S)


def _settle_of(batch: Batch) -> dict[str, object]:
    return {"lease": batch.lease, "ack": batch.ranges}


WAYS = {"turns": Consumer.in_turns, "carried": Consumer.carried, "ahead": Consumer.ahead}


async def _consume(consumers: Sequence[Consumer], tally: Tally, how: str) -> tuple[float, float]:
    """Consume all; returns the seconds it took, and those of this process's processor time."""
    cpu_s, begun = time.process_time(), time.perf_counter()
    async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(WAYS[how](each)) for each in consumers]
        await tally.done.wait()
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
        # A lease that still waits is given up.
        for task in tasks:
            task.cancel()
    return seconds, cpu_s


async def main(port: int, name: str, expected: int, at_once: int, count: int, how: str) -> None:
    """Consume, check what came, and report the time it took."""
    tally = Tally(expected)
    connections = await connect([port], count)
    # What a lease carries is told with its answer. One that finds nothing, since others are being
    # given all that is left, must not keep that until it has waited.
    wait_ms = WAIT_MS if count == 1 and how != "ahead" else 0
    consumers = [
        Consumer(name, f"consumer-{number}", at_once, wait_ms, connection, tally)
        for number, connection in enumerate(connections)
    ]
    report(ready=True)
    try:
        seconds, cpu_s = await _consume(consumers, tally, how)
        tally.check(in_order=count == 1)
    except* Unexpected as found:
        raise SystemExit("; ".join(map(str, found.exceptions))) from None
    finally:
        for connection in connections:
            connection.close()
    report(
        seconds=seconds,
        cpu_s=cpu_s,
        cycles_s=tally.cycles_s,
        max_lag=tally.max_lag,
        refused=tally.refused,
    )


if __name__ == "__main__":
    _, _port, _name, _expected, _at_once, _count, _how = sys.argv
    uvloop.run(main(int(_port), _name, int(_expected), int(_at_once), int(_count), _how))
