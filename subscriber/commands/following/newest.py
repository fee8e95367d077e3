"""The newest events of each topic, held back until a stream has caught up."""

from collections import defaultdict, deque
from collections.abc import Iterator

from subscriber.events import Event


class Newest:
    """Holds the newest events of each topic, so many, and drops the older ones.

    Args:
        count: events of a topic, from 1.
    """

    def __init__(self, count: int) -> None:
        self._topics: defaultdict[str, deque[tuple[int, Event, str | None]]] = defaultdict(
            lambda: deque(maxlen=count)
        )
        self._came = 0

    def hold(self, event: Event, position: str | None) -> None:
        """Hold an event, and the position behind it."""
        self._came += 1
        self._topics[event.topic].append((self._came, event, position))

    def release(self) -> Iterator[tuple[Event, str | None]]:
        """Yield what is held, with its positions, in the order in which it came."""
        held = sorted(entry for topic in self._topics.values() for entry in topic)
        self._topics.clear()
        for _, event, position in held:
            yield event, position
