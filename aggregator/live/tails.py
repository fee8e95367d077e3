"""Tails of topics: the newest events of each topic that is followed, read once for all its streams.

A flush, or the poll of heads, only wakes. What a tail has comes from the log by offset, so it is
complete and in order whatever was committed where.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import Form, LogChunks
from aggregator.logging.observer_guard import log_failure
from storage.errors import StorageError

_PAUSE_S = 1.0
"""Behind a read that failed."""


class TailFollower(Protocol):
    """Who follows a tail."""

    def advanced(self, topic: str) -> None:
        """Take notice that the tail of a topic has moved."""

    def failed(self, reason: str) -> None:
        """Take notice that a tail can't go on, and why."""


class Tail:
    """The newest events of one topic in one form, from when it is followed.

    Args:
        topic: its name.
        form: of its events.
        heads: the watch of heads; the topic is watched from now on.
        chunks: the tail reads them.
        on_failed: called when it can't go on, before its followers are told.
    """

    __slots__ = (
        "_chunks", "_closed", "_form", "_on_failed", "_stack", "_task", "_watched",
        "followers", "position", "topic",
    )  # fmt: skip

    def __init__(
        self,
        topic: str,
        form: Form,
        heads: HeadWatch,
        chunks: LogChunks,
        on_failed: Callable[[], object],
    ) -> None:
        self.topic = topic
        self._form = form
        self._chunks = chunks
        self._on_failed = on_failed
        self._stack = ExitStack()
        # Before anybody reads the topic: see `aggregator.live.heads`.
        self._watched = self._stack.enter_context(heads.watching(topic))
        self._watched.on_lowered.append(self._lowered)
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.followers: set[TailFollower] = set()
        self.position = 0
        """The offset up to which events were read; what is behind it is read as it comes."""

    @property
    def head(self) -> int:
        """The highest offset that was heard of."""
        return max(self.position, self._watched.head)

    def begin(self, head: int) -> None:
        """Begin to read; if that has begun, read up to a head at least.

        Args:
            head: the head offset of the topic, read since the tail is there.
        """
        if self._closed:
            # It has failed already, and so have its followers.
            return
        # It wakes a tail that has not heard of it. A poll that finds less then finds a log that was
        # put back.
        self._watched.advance(head)
        if self._task is None:
            self.position = head
            self._task = asyncio.create_task(self._run(), name="tail")

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        self._watched.on_lowered.remove(self._lowered)
        self._stack.close()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                with self._watched.sleeper(self.position) as sleeper:
                    await sleeper
                try:
                    await self._read()
                except StorageError:
                    # Its streams are told nothing: there are no events to be had either way.
                    await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - without it, its streams would wait for ever
            log_failure(self._run, error)
            self._fail("its events can't be read; the log says why")

    def _lowered(self) -> None:
        # What was read is of a log that is no more. Who comes back with a position behind the
        # head is told of the gap.
        self._chunks.forget(self.topic)
        self._fail(f"the log of topic {self.topic!r} was put back to an earlier state")

    def _fail(self, reason: str) -> None:
        self._on_failed()
        for follower in list(self.followers):
            follower.failed(reason)

    async def _read(self) -> None:
        chunk = await self._chunks.chunk(self._form, self.topic, self.position, at_head=True)
        if chunk.last == self.position:
            # The poll is about to tell why.
            await asyncio.sleep(_PAUSE_S)
            return
        # It is kept with the others, within their bound: held here, each topic would have its own.
        self.position = chunk.last
        self._watched.advance(chunk.last)
        for follower in list(self.followers):
            follower.advanced(self.topic)


class Tails:
    """The tails of all topics that are followed.

    Args:
        heads: the watch of heads.
        chunks: the tails read them.
    """

    def __init__(self, heads: HeadWatch, chunks: LogChunks) -> None:
        self._heads = heads
        self._chunks = chunks
        self._tails: dict[tuple[Form, str], Tail] = {}

    def __len__(self) -> int:
        return len(self._tails)

    def follow(self, topic: str, form: Form, follower: TailFollower) -> Tail:
        """Follow the tail of a topic; what is committed from now on is noticed."""
        tail = self._tails.get((form, topic))
        if tail is None:
            forget = partial(self._forget, topic, form)
            tail = self._tails[form, topic] = Tail(topic, form, self._heads, self._chunks, forget)
        tail.followers.add(follower)
        return tail

    def leave(self, topic: str, form: Form, follower: TailFollower) -> None:
        """Follow a tail no more."""
        tail = self._tails.get((form, topic))
        # That of a follower that was told of a failure is there no more.
        if tail is None or follower not in tail.followers:
            return
        tail.followers.discard(follower)
        if not tail.followers:
            self._forget(topic, form)

    def _forget(self, topic: str, form: Form) -> None:
        """Close a tail: it has no followers, or has failed, and who comes gets another one."""
        self._tails.pop((form, topic)).close()
