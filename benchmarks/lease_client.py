"""Consumers of a subscription that insert a row for each event, by hand, and then settle.

    python -m benchmarks.lease_client PORT NAME EVENTS CONSUMERS DSN

Each has a connection of its own to the aggregator and another to its database. It leases 100
events, parses them, commits their rows and leases the next by a request that carries the settle. A
crash between the commit and the settle lets them happen again: that is what a checkpoint is for.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import uvloop

from benchmarks import effects
from benchmarks.consuming import Tally, consume
from benchmarks.driving import Connection, connect, request


class _Consumer:
    def __init__(
        self, name: str, label: str, server: Connection, database: "effects.Connection | None"
    ) -> None:
        self._path = f"/subscriptions/{name}"
        self._label = label
        self._server = server
        self._database = database

    async def run(self, tally: Tally) -> None:
        """Take events until none are left."""
        settle: dict[str, Any] | None = None
        while asked := tally.ask():
            begun = time.perf_counter()
            asking = {"consumer": self._label, "max_events": asked, "wait_ms": 0}
            answer = await self._post("lease", asking | ({"settle": settle} if settle else {}))
            events = [delivery["event"] for delivery in answer["deliveries"]]
            await effects.write(self._database, [event["payload"] for event in events])
            tally.took(asked, [event["payload"]["number"] for event in events], begun)
            settle = {"lease": answer["lease"], "ack": _ranges(events)} if events else None
        if settle:
            await self._post("settle", settle)

    async def _post(self, what: str, asked: object) -> dict[str, Any]:
        sent = request(json.dumps(asked).encode(), f"{self._path}/{what}")
        status, body = await self._server.exchange(sent)
        if status != 200:
            raise SystemExit(f"a {what} was answered {status}: {body[:300]!r}")
        answer: dict[str, Any] = json.loads(body)
        return answer


def _ranges(events: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return topics with the first and the last offset of events that follow one another."""
    ranges: list[list[Any]] = []
    for event in events:
        topic, offset = event["topic"], event["offset"]
        if ranges and ranges[-1][0] == topic and ranges[-1][2] == offset - 1:
            ranges[-1][2] = offset
        else:
            ranges.append([topic, offset, offset])
    return ranges


async def main(port: int, name: str, expected: int, count: int, dsn: str) -> None:
    """Take and settle all events, and report the time."""
    tally = Tally(expected)
    async with AsyncExitStack() as stack:
        servers = await connect([port], count)
        for server in servers:
            stack.callback(server.close)
        consumers = [
            _Consumer(
                *(name, f"consumer-{number}", server),
                await stack.enter_async_context(effects.connected(dsn)),
            )
            for number, server in enumerate(servers)
        ]
        await consume(tally, [partial(each.run, tally) for each in consumers])


if __name__ == "__main__":
    _, _port, _name, _expected, _count, _dsn = sys.argv
    uvloop.run(main(int(_port), _name, int(_expected), int(_count), _dsn))
