"""The places of a stream in its topics, and which of them have more for it."""

from aggregator.live.tails import Tail


class Place:
    """A place in a topic: the offset up to which a reader was given events.

    Args:
        tail: of the topic.
    """

    __slots__ = ("offset", "tail")

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.offset = 0

    @property
    def is_behind(self) -> bool:
        """Whether the tail is ahead of it."""
        return self.tail.position > self.offset

    @property
    def lag(self) -> int:
        """Number of events that it is behind the head."""
        return max(self.tail.head - self.offset, 0)


class Places:
    """The places of one stream, by topic."""

    __slots__ = ("_owed", "_places", "_ready")

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._ready: dict[str, None] = {}
        # The heads at its opening, of the topics in which it has not reached them.
        self._owed: dict[str, int] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self._places

    @property
    def topics(self) -> list[str]:
        """The topics that have a place."""
        return list(self._places)

    @property
    def offsets(self) -> dict[str, int]:
        """The offsets up to which its reader was given events, by topic."""
        return {topic: place.offset for topic, place in self._places.items()}

    @property
    def lag(self) -> int:
        """Number of events that it is behind the heads."""
        return sum(self._places[topic].lag for topic in self._ready)

    @property
    def ready(self) -> bool:
        """Whether there is more in a topic than was given."""
        return bool(self._ready)

    @property
    def owed(self) -> bool:
        """Whether a topic had more at the opening than was given, tail or no tail."""
        return bool(self._owed)

    def join(self, tail: Tail) -> None:
        """Begin a place at the start of a topic."""
        self._places[tail.topic] = Place(tail)
        self._ready[tail.topic] = None

    def go_on(self, topic: str, offset: int, head: int) -> None:
        """Move a place when the stream is opened.

        Args:
            topic: of the place.
            offset: up to which its reader has had events.
            head: head offset of the topic, which the tail may not have reached yet.
        """
        place = self._places[topic]
        place.offset = offset
        if offset < head:
            self._owed[topic] = head
        if not place.is_behind:
            self._ready.pop(topic, None)

    def advanced(self, topic: str) -> None:
        """Take notice that the tail of a topic has moved."""
        self._ready[topic] = None

    def take(self) -> Place:
        """Take the place that is to have its turn now; there is one that is ready."""
        topic = next(iter(self._ready))
        del self._ready[topic]
        return self._places[topic]

    def put_back(self, place: Place) -> None:
        """Have a place wait for its next turn, behind the others, if there is more."""
        if place.is_behind:
            self._ready[place.tail.topic] = None

    def gave(self, place: Place, last: int) -> None:
        """Take notice that events of a place were given, up to an offset."""
        place.offset = last
        if last >= self._owed.get(place.tail.topic, last + 1):
            del self._owed[place.tail.topic]
