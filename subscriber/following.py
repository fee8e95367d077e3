"""The iterator of `follow`: blocks to events, over one connection after another."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

import aiohttp

from publisher.credentials import Credentials
from subscriber.connection import Connection, StreamLost
from subscriber.errors import FollowGaveUp, FollowRefused, GapError
from subscriber.event_stream import Block
from subscriber.events import (
    Event,
    Gap,
    NotFromAnAggregator,
    parse_event,
    parse_gap,
    parse_heads,
    parse_reason,
)
from subscriber.policy import OnWait, ReconnectPolicy, Wait
from subscriber.query import Query
from subscriber.sequence import Sequence

_OFFSET = re.compile("[0-9]{1,18}")

OnGap = Callable[[Gap], None]
OnCaughtUp = Callable[[Mapping[str, int]], None]


class Following:
    """The events of `follow`, one after another, as an asynchronous iterator.

    It is also an asynchronous context manager, which closes the connection when it is left. It is
    for one task at a time, and a cancellation, such as that of `asyncio.timeout`, loses nothing:
    the next call goes on. After an error it is closed, and the next call tries again from the
    position.
    """

    def __init__(
        self,
        query: Query,
        sequence: Sequence,
        position: str | None,
        *,
        until_caught_up: bool,
        credentials: Credentials,
        policy: ReconnectPolicy,
        on_wait: OnWait,
        on_open: Callable[[], None] | None,
        on_caught_up: OnCaughtUp | None,
        on_gap: OnGap | None,
    ) -> None:
        self._query = query
        self._sequence = sequence
        self._position = position
        self._until_caught_up = until_caught_up
        self._credentials = credentials
        self._policy = policy
        self._on_wait = on_wait
        self._on_open = on_open
        self._on_caught_up = on_caught_up
        self._on_gap = on_gap
        self._session: aiohttp.ClientSession | None = None
        self._connection: Connection | None = None
        self._blocks: Iterator[Block] = iter(())
        self._has_ended = False
        self._is_open = False
        self._attempts = 0
        self._lost_at: float | None = None
        self._retry_s = 0.0
        self._connect_at = 0.0
        self._note_position(position)

    @property
    def position(self) -> str | None:
        """The position behind the event that was handed out last; None if there is none yet.

        Whoever stores it after the work on an event, and gives it to `follow` later, misses no
        event. It also moves past what a filter leaves out, while the next event is waited for.
        """
        return self._position

    async def __aenter__(self) -> Self:
        """Return the iterator."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and end the iteration."""
        self._has_ended = True
        await self._close()

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, waiting until there is one.

        Raises:
            StopAsyncIteration: it was closed, or has caught up and was to end then.
            FollowRefused: the request is refused, or the server is no aggregator.
            FollowGaveUp: there was no stream for too long.
            HoleError: an event is missing or came before.
            GapError: what was asked for is not there. It is a HoleError.
        """
        try:
            while not self._has_ended:
                block = next(self._blocks, None)
                if block is None:
                    await self._receive()
                elif (event := self._take(block)) is not None:
                    return event
        except Exception:
            # Also when a callback raises: what it was told of comes again.
            await self._close()
            raise
        await self._close()
        raise StopAsyncIteration

    async def _receive(self) -> None:
        """Receive what comes next, over a new connection if there is none."""
        try:
            if self._connection is None:
                self._connection = await self._connect()
            self._blocks = iter(await self._connection.blocks())
        except StreamLost as loss:
            self._lose(loss)

    async def _connect(self) -> Connection:
        clock = asyncio.get_running_loop().time
        # A wait that was cancelled goes on: whoever looks often must not ask often.
        await asyncio.sleep(max(0.0, self._connect_at - clock()))
        if self._lost_at is None:
            self._lost_at = clock()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._credentials.connector(), auto_decompress=False
            )
        if self._position is None:
            url, headers = self._query.first_url(), {}
        else:
            url, headers = self._query.url, {"Last-Event-ID": self._position}
        return await Connection.opened(
            self._session, url, headers, self._policy.silence_s, self._credentials
        )

    def _lose(self, loss: StreamLost) -> None:
        """Close a connection that gives no more, and set when to have another one."""
        self._disconnect()
        now = asyncio.get_running_loop().time()
        self._attempts += 1
        if self._lost_at is None:
            self._lost_at = now
        wait_s = self._policy.wait_s(self._attempts, max(self._retry_s, loss.wait_s))
        self._connect_at = now + wait_s
        if self._connect_at - self._lost_at >= self._policy.give_up_after_s:
            attempts, self._attempts, self._lost_at = self._attempts, 0, None
            raise FollowGaveUp(attempts, self._policy.give_up_after_s, str(loss)) from loss
        self._on_wait(Wait(self._attempts, str(loss), wait_s))

    def _disconnect(self) -> None:
        # What came and was not taken comes again, since the position is before it.
        self._blocks = iter(())
        self._is_open = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _close(self) -> None:
        self._disconnect()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _take(self, block: Block) -> Event | None:
        """Take a block: give its event, if it has one, and move the position."""
        if block.retry_ms is not None:
            self._retry_s = block.retry_ms / 1000
        if block.event == "unavailable":
            reason = parse_reason(block.data or b"")
            self._lose(StreamLost(f"the aggregator cannot serve a stream now: {reason}"))
            return None
        if block.data is None and block.id is None:
            return None
        self._opened()
        try:
            return self._take_data(block)
        except NotFromAnAggregator as error:
            raise FollowRefused(200, str(error)) from error

    def _opened(self) -> None:
        if not self._is_open:
            self._is_open, self._attempts, self._lost_at = True, 0, None
            if self._on_open is not None:
                self._on_open()

    def _take_data(self, block: Block) -> Event | None:
        if block.id is not None and not block.id.isprintable():
            raise NotFromAnAggregator("a position has control characters")
        data = block.data
        if data is None:
            self._note_position(block.id)
        elif block.event == "message":
            event = parse_event(data)
            if block.id is None:
                raise NotFromAnAggregator("an event has no position")
            self._sequence.take(event.topic, event.offset)
            self._position = block.id
            return event
        elif block.event == "gap":
            self._pass(parse_gap(data), block.id)
        elif block.event == "caught-up":
            heads = parse_heads(data)
            self._sequence.catch_up(heads)
            self._note_position(block.id)
            self._has_ended = self._until_caught_up
            if self._on_caught_up is not None:
                self._on_caught_up(heads)
        else:
            # A position, or a kind of block that a later aggregator may have.
            self._note_position(block.id)
        return None

    def _pass(self, gap: Gap, position: str | None) -> None:
        if self._on_gap is None:
            raise GapError(gap)
        self._on_gap(gap)
        self._sequence.jump(gap)
        self._note_position(position)

    def _note_position(self, position: str | None) -> None:
        """Move to a position that came without an event."""
        if position is None:
            return
        self._position = position
        topic = self._query.only_topic
        if topic and _OFFSET.fullmatch(position):
            self._sequence.begin(topic, int(position))
