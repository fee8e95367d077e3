"""The watch of heads: the head offsets of the topics that somebody waits for.

It only wakes: a head says that there is something to read, and what there is comes from the log. A
topic is watched before it is read. What is committed while the read goes on is then known when it
has ended, and nobody waits for what has come already.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from storage.model import Status, Verdict


class WatchedTopic:
    """The highest head offset of a topic that was heard of since it is watched.

    Args:
        name: of the topic.
    """

    __slots__ = ("_sleepers", "head", "name", "on_lowered", "watchers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.head = 0
        """0 as long as nothing was heard of."""
        self.watchers = 0
        """Number of those that watch it."""
        self.on_lowered: list[Callable[[], object]] = []
        """Callbacks when its head is lower than it was."""
        self._sleepers: dict[asyncio.Future[None], int] = {}

    def advance(self, head: int) -> None:
        """Wake those that wait for an offset below a head; a lower head than is known is none."""
        if head <= self.head:
            return
        self.head = head
        for sleeper, offset in self._sleepers.items():
            if offset < head and not sleeper.done():
                sleeper.set_result(None)

    def lower(self, head: int) -> None:
        """Take notice that the log was put back to an earlier state: events are there no more."""
        self.head = head
        for on_lowered in list(self.on_lowered):
            on_lowered()

    @contextmanager
    def sleeper(self, offset: int) -> Iterator[asyncio.Future[None]]:
        """Return a future that is done when the head is above an offset, at once if it is.

        Whoever has it may set its result, to wake for a reason of its own.
        """
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = offset
        if self.head > offset:
            sleeper.set_result(None)
        try:
            yield sleeper
        finally:
            del self._sleepers[sleeper]


class HeadWatch:
    """Watches the heads of topics, each for as long as anybody wants it.

    A topic that nobody watches costs nothing, and none at all one truth test a flush.
    """

    def __init__(self) -> None:
        self.on_first: Callable[[], object] = lambda: None
        """Callback when a topic is watched and none was."""
        self._topics: dict[str, WatchedTopic] = {}

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def topics(self) -> list[str]:
        """The names of the topics that are watched."""
        return list(self._topics)

    def known(self) -> dict[str, int]:
        """Return the heads that were heard of, of every topic that is watched."""
        return {name: topic.head for name, topic in self._topics.items()}

    @contextmanager
    def watching(self, name: str) -> Iterator[WatchedTopic]:
        """Watch a topic for as long as the context lasts.

        Args:
            name: of the topic.
        """
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = WatchedTopic(name)
            if len(self._topics) == 1:
                self.on_first()
        topic.watchers += 1
        try:
            yield topic
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[name]

    def advance(self, heads: Mapping[str, int]) -> None:
        """Wake those that wait for what is behind heads as the database has them.

        Args:
            heads: head offsets by topic; topics that are not watched are passed over.
        """
        for name, head in heads.items():
            topic = self._topics.get(name)
            if topic is not None:
                topic.advance(head)

    def polled(self, heads: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Take notice of heads as a poll has found them.

        Args:
            heads: head offsets by topic.
            before: those that were known before the poll.
        """
        self.advance(heads)
        for name, head in heads.items():
            topic = self._topics.get(name)
            if topic is not None and head < before[name]:
                topic.lower(head)

    def observe(self, verdicts: Sequence[Verdict], counted: Iterable[tuple[str, Status]]) -> None:
        """Wake those that wait for what a flush has committed.

        Args:
            verdicts: of the flush, in order.
            counted: the pairs of topic and status among them, each once.
        """
        stored = {
            name for name, status in counted if status is Status.STORED and name in self._topics
        }
        if stored:
            # New events have ascending offsets: of each topic the last one counts.
            self.advance(
                {
                    verdict.topic: verdict.offset
                    for verdict in verdicts
                    if verdict.topic in stored and verdict.status is Status.STORED
                }
            )
