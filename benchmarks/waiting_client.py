"""Many waits at once: connections that each wait for the next event of a topic, and then again.

    python -m benchmarks.waiting_client PORT CONNECTIONS TOPIC...

It says when all of them wait, and goes on until its standard input ends. Then it reports how many
waits were answered, how many were refused (503) and begun again, and how many are open.
"""

import asyncio
import re
import sys
from http.client import HTTPConnection
from itertools import cycle, islice
from urllib.parse import quote

import uvloop

from benchmarks.client_result import report
from benchmarks.driving import Connection, connect

_WAIT_S = 60
_LIMIT_S = 30.0
_REFUSED_PAUSE_S = 0.05
_OFFSET = re.compile(rb'"offset":(\d+)')


def wait_request(topic: str, after: int) -> bytes:
    """Build a request that waits for what comes behind an offset."""
    return (
        f"GET /events?topic={quote(topic)}&after={after} HTTP/1.1\r\nHost: benchmark\r\n"
        f"Prefer: wait={_WAIT_S}\r\n\r\n"
    ).encode()


def waits_are_served(port: int) -> bool:
    """Return whether the server confirms a wait."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        target = "/events?topic=nothing-is-published-here&after=0"
        connection.request("GET", target, headers={"Prefer": "wait=1"})
        response = connection.getresponse()
        response.read()
        return response.status == 200 and "wait=1" in response.headers.get("Preference-Applied", "")
    finally:
        connection.close()


def _head(port: int, topic: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", f"/events?topic={quote(topic)}&order=desc&limit=1")
        newest = _OFFSET.search(connection.getresponse().read())
    finally:
        connection.close()
    return int(newest[1]) if newest else 0


class _Waits:
    """Waits, each of which is begun anew when it has its answer."""

    def __init__(self) -> None:
        self.open = 0
        self.answered = 0
        self.refused = 0
        self.events = 0

    async def follow(self, connection: Connection, topic: str, after: int) -> None:
        while True:
            self.open += 1
            status, body = await connection.exchange(wait_request(topic, after))
            self.open -= 1
            if status == 503:
                self.refused += 1
                await asyncio.sleep(_REFUSED_PAUSE_S)
                continue
            self.answered += 1
            if status != 200:
                raise RuntimeError(f"a wait was answered {status}: {body[:200]!r}")
            offsets = _OFFSET.findall(body)
            self.events += len(offsets)
            after = int(offsets[-1]) if offsets else after


def _end_of_input() -> asyncio.Future[None]:
    """Return what is done when standard input ends; nothing is ever written to it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        loop.remove_reader(sys.stdin)
        ended.set_result(None)

    loop.add_reader(sys.stdin, end)
    return ended


async def main(port: int, connections: int, topics: list[str]) -> None:
    """Wait until standard input ends."""
    if not await asyncio.to_thread(waits_are_served, port):
        report(not_served="the server does not hold an answer for Prefer: wait")
        return
    waits = _Waits()
    heads = {topic: await asyncio.to_thread(_head, port, topic) for topic in topics}
    opened = await connect([port], connections)
    tasks = [
        asyncio.create_task(waits.follow(connection, topic, heads[topic]))
        for connection, topic in zip(opened, islice(cycle(topics), connections), strict=True)
    ]
    ended = _end_of_input()
    # A request behind all of these has its answer: they have been read before it.
    await asyncio.to_thread(_head, port, topics[0])
    report(ready=True)
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    report(open=waits.open, answered=waits.answered, events=waits.events, refused=waits.refused)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in opened:
        connection.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
