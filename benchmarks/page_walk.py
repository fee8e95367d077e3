"""A reader of pages that parses nothing, so that its speed is the server's side alone.

It knows where each page begins, since offsets have no gaps, and how long its answer is, since it
was read before; so it only counts bytes.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

from benchmarks.driving import BrokenOff, connect, get
from benchmarks.measuring import WrongCounts

_BUFFER_BYTES = 1 << 20
_HEAD_END = b"\r\n\r\n"


class Page(NamedTuple):
    """A page of one topic."""

    after: int
    limit: int

    def target(self, topic: str) -> str:
        """Return its path and query."""
        return f"/events?topic={topic}&after={self.after}&limit={self.limit}"


def split(events: int, limit: int, readers: int = 1) -> list[list[Page]]:
    """Split the events of a topic into a stretch for each reader, and these into pages.

    Args:
        events: the number of events, from the first.
        limit: events in a page; the last one of a stretch may have fewer.
        readers: the number of stretches.

    Returns:
        The pages of each reader; there are no more readers than events.
    """
    readers = min(readers, events)
    bounds = [events * number // readers for number in range(readers + 1)]
    return [
        [Page(after, min(limit, end - after)) for after in range(begin, end, limit)]
        for begin, end in pairwise(bounds)
    ]


async def lengths(port: int, topic: str, pages: Sequence[Page]) -> dict[Page, int]:
    """Read pages one after the other and count their events.

    Returns:
        The length of each body in bytes.

    Raises:
        WrongCounts: a page has other events than it should.
    """
    found: dict[Page, int] = {}
    (connection,) = await connect([port], 1)
    try:
        for page in pages:
            status, body = await connection.exchange(get(page.target(topic)))
            events = body.count(b'"offset":')
            if status != 200 or events != page.limit:
                raise WrongCounts(f"{page.target(topic)} was answered {status}, {events} events")
            found[page] = len(body)
    finally:
        connection.close()
    return found


async def walk(
    port: int, topic: str, readers: Sequence[Sequence[Page]], known: Mapping[Page, int]
) -> float:
    """Read the pages of each reader over a connection of its own, all at once.

    Args:
        port: of the server.
        topic: the topic.
        readers: the pages of each.
        known: the length of each page's body in bytes.

    Returns:
        The time until the last reader had all of its pages, in seconds.

    Raises:
        WrongCounts: an answer is another than it should be.
    """
    loop = asyncio.get_running_loop()
    walkers = [
        (await loop.create_connection(lambda: _Walker(topic), "127.0.0.1", port))[1]
        for _ in readers
    ]
    try:
        begun = time.perf_counter()
        await asyncio.gather(
            *(walker.read(pages, known) for walker, pages in zip(walkers, readers, strict=True))
        )
        return time.perf_counter() - begun
    finally:
        for walker in walkers:
            walker.close()


class _Walker(asyncio.BufferedProtocol):
    """A connection that reads one page after the other into the same buffer."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._pages: list[Page] = []
        self._known: Mapping[Page, int] = {}
        self._head = b""
        """What has come of the head of an answer."""
        self._in_head = True
        self._missing = 0
        """The number of bytes of the body that have not come."""
        self._done: asyncio.Future[None] | None = None

    async def read(self, pages: Sequence[Page], known: Mapping[Page, int]) -> None:
        self._pages, self._known = list(reversed(pages)), known
        self._done = asyncio.get_running_loop().create_future()
        self._request_page()
        await self._done

    def _request_page(self) -> None:
        self._head, self._in_head = b"", True
        if self._transport is None:
            raise BrokenOff
        self._transport.write(get(self._pages[-1].target(self._topic)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._done is None or self._done.done():
            return
        if self._in_head:
            self._head += self._buffer[:nbytes]
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            self._in_head = False
            expected = self._known[self._pages[-1]]
            head = self._head[:end].lower()
            if (
                not head.startswith(b"http/1.1 200 ")
                or b"content-length: %d" % expected not in head
            ):
                self._done.set_exception(WrongCounts(f"not {expected} bytes: {head!r}"))
                return
            self._missing = expected - (len(self._head) - end - len(_HEAD_END))
        else:
            self._missing -= nbytes
        if not self._missing:
            self._pages.pop()
            if self._pages:
                self._request_page()
            else:
                self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or BrokenOff())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
