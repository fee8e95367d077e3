"""The followers: the streams that are open, and the room for them."""

import random
from functools import partial

from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.beginnings import (
    MAX_TOPICS,
    first_offsets,
    gaps,
    matching_topics,
    too_many,
)
from aggregator.live.ends import SHUTDOWN
from aggregator.live.follower import Follower
from aggregator.live.log_chunks import Form, LogChunks
from aggregator.live.tails import Tails
from aggregator.live.topic_watch import TopicWatch
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.stream_position import MAX_POSITION_BYTES, render_position
from aggregator.wire.stream_query import StreamRequest
from storage.protocols import EventReader

_SPREAD = 0.1
"""Streams that begin together end up to a tenth of their life apart, either way."""


class Followers:
    """Opens streams, and ends them at shutdown.

    Args:
        store: where they begin is looked up in it.
        topics: the watch of topics.
        tails: the tails of topics.
        chunks: streams read through them.
        limit: the number of streamed answers.
        heartbeat_s: seconds of silence after which a stream gives a sign of life.
        lifetime_s: seconds after which one ends, more or less.
    """

    def __init__(
        self,
        *,
        store: EventReader,
        topics: TopicWatch,
        tails: Tails,
        chunks: LogChunks,
        limit: StreamLimit,
        heartbeat_s: float,
        lifetime_s: float,
    ) -> None:
        self._store = store
        self._topics = topics
        self._tails = tails
        self._chunks = chunks
        self._limit = limit
        self._heartbeat_s = heartbeat_s
        self._lifetime_s = lifetime_s
        self._open: dict[Follower, object | None] = {}
        """With what they watch for topics, if they do."""
        self._events = 0
        """Those that streams gave which are closed."""
        self.draining = False
        """Whether streams were ended, and no more are opened."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def events(self) -> int:
        """Number of events that streams have given."""
        return self._events + sum(follower.events for follower in self._open)

    @property
    def lag(self) -> int:
        """Number of events that the slowest is behind."""
        return max((follower.places.lag for follower in self._open), default=0)

    async def open(self, request: StreamRequest, form: Form) -> Follower:
        """Open a stream, which keeps its room until it is closed.

        Args:
            request: what it follows, and where it begins.
            form: of its events.

        Raises:
            InvalidRequest: it has more topics than a position can tell.
            QueueFull: there are as many streams as may be.
            ShuttingDown: the aggregator drains.
            StorageError: the store failed.
        """
        if self.draining:
            raise ShuttingDown("the aggregator is shutting down")
        self._limit.begin(follows=True)
        follower = Follower(
            request,
            form,
            self._chunks,
            heartbeat_s=self._heartbeat_s,
            lifetime_s=self._lifetime_s * random.uniform(1 - _SPREAD, 1 + _SPREAD),  # noqa: S311
        )
        self._open[follower] = None
        try:
            await self._begin(follower)
        except BaseException:
            self.close(follower)
            raise
        return follower

    def close(self, follower: Follower) -> None:
        """Give up the room of a stream. Idempotent."""
        if follower not in self._open:
            return
        watch = self._open.pop(follower)
        if watch is not None:
            self._topics.unwatch(watch)
        for topic in follower.places.topics:
            self._tails.leave(topic, follower.form, follower)
        follower.close()
        self._limit.end(follows=True)
        self._events += follower.events

    def drain(self) -> None:
        """End every stream between two events, and open no more."""
        self.draining = True
        for follower in list(self._open):
            follower.stop(SHUTDOWN)

    async def _begin(self, follower: Follower) -> None:
        request = follower.request
        found: dict[str, None] = {}
        if request.topics.prefixes:
            told = partial(self._found, follower, found)
            self._open[follower] = self._topics.watch(request.topics, told)
        # Each is watched before it is read: see `aggregator.live.heads`.
        topics = await matching_topics(self._store, request)
        tails = {topic: self._tails.follow(topic, follower.form, follower) for topic in topics}
        for tail in tails.values():
            follower.places.join(tail)
        heads = await self._store.heads(topics)
        offsets = await first_offsets(self._store, request, heads)
        if request.topics.one_topic is not None:
            follower.head = heads[request.topics.one_topic]
        follower.gaps = gaps(offsets, heads)
        for topic, tail in tails.items():
            tail.begin(heads[topic])
            follower.places.go_on(topic, min(offsets[topic], heads[topic]), heads[topic])
        # At the heads it is longest, and there it comes to, wherever it begins.
        if len(render_position(heads, request.topics.one_topic)) > MAX_POSITION_BYTES:
            raise too_many(str(len(topics)))
        follower.begun = True
        for topic in found:
            self._join(follower, topic)

    def _found(self, follower: Follower, found: dict[str, None], topic: str) -> None:
        """Have a stream follow a topic that is new; until it has begun, that waits."""
        if follower.begun:
            self._join(follower, topic)
        else:
            found[topic] = None

    def _join(self, follower: Follower, topic: str) -> None:
        if topic in follower.places:
            return
        if len(follower.places.topics) >= MAX_TOPICS:
            follower.stop(f"more than {MAX_TOPICS} topics fit its patterns")
            return
        tail = self._tails.follow(topic, follower.form, follower)
        tail.begin(0)
        follower.places.join(tail)
        # It may sleep, and a tail that others follow may have been told of all that is there.
        follower.advanced(topic)
