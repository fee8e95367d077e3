"""The plan of a run: every event in a few bytes, the same for the same seed.

Keys are numbered from 0 in the order in which the plan first has them, positions from 0 in the
order of the whole plan; request n has the positions from n * batch on.
"""

import random
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

NEW, DUPLICATE, OTHER_PAYLOAD, OTHER_SOURCE = range(4)
"""The kind of an event: the first of its key, the same again, or a conflict with the first."""

STAMPS = 8
"""The number of timestamps that a key may be sent with, as a retry of a publisher has its own."""

NO_MARKER = -1
_DRAWS = 16
_SAME_REQUEST, _RECENT = 0.2, 0.6


@dataclass(frozen=True, slots=True)
class Shape:
    """Sets the numbers of events, requests and topics of a plan.

    Args:
        events: the number of events in all.
        duplicates: the number of events that repeat a key with the same content.
        conflicts: the number of events that repeat a key with other content.
        batch: the number of events in a request.
        topics: the number of topics.
        concurrency: the number of concurrent requests. Many duplicates are drawn from requests that
            are in flight together.
        seed: the seed of every draw.
    """

    events: int
    duplicates: int
    conflicts: int
    batch: int
    topics: int
    concurrency: int
    seed: int

    @property
    def unique(self) -> int:
        """The number of keys, each new once, at least 1."""
        return self.events - self.duplicates - self.conflicts

    @property
    def requests(self) -> int:
        """The number of requests, of which the last may be shorter."""
        return ceil(self.events / self.batch)


class Plan:
    """Draws every event of a run, in the order in which it is sent.

    - `keys` and `kinds` have the key and the kind of the event at each position.
    - `topic_of` has the number of the topic of each key.
    - `stamps` has, for each key, a bit for each timestamp that it is sent with, conflicts left out.
    - `markers` has, for each request, a key that no other request has, or NO_MARKER. The verdict of
      a marker shows whether an earlier attempt of that request was stored. Each request with a new
      key and another event has one, unless it is the first request and has a single new key.
    - `events_of`, `unique_of` and `conflicts_of` have the counts of each topic.

    Args:
        shape: the numbers of events, requests and topics.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.keys = array("I")
        self.kinds = bytearray()
        self.topic_of = array("H")
        self.stamps = bytearray()
        self.markers = array("q")
        self.events_of = [0] * shape.topics
        self.unique_of = [0] * shape.topics
        self.conflicts_of = [0] * shape.topics
        self._keys_before = array("I")
        draw = random.Random(shape.seed).random
        self._draw_kinds(draw)
        for request in range(shape.requests):
            self._draw_keys(request, draw)

    def positions(self, request: int) -> range:
        """Return the positions of a request's events."""
        start = request * self.shape.batch
        return range(start, min(start + self.shape.batch, self.shape.events))

    def first_request(self, key: int) -> int:
        """Return the request in which the plan first has a key."""
        return bisect_right(self._keys_before, key) - 1

    def needed_before(self, request: int) -> set[int]:
        """Return the requests that must be acknowledged before this one is sent.

        They hold the first event of each key that this request is in conflict with. Only once that
        is stored is the verdict of the conflict certain.
        """
        needed = {
            self.first_request(self.keys[position])
            for position in self.positions(request)
            if self.kinds[position] >= OTHER_PAYLOAD
        }
        return needed - {request}

    def _draw_kinds(self, draw: Callable[[], float]) -> None:
        shape, kinds = self.shape, self.kinds
        new, duplicates = shape.unique - 1, shape.duplicates
        # Before the first event of all there is nothing to repeat.
        kinds.append(NEW)
        for left in range(shape.events - 1, 0, -1):
            drawn = draw() * left
            if drawn < new:
                new -= 1
                kinds.append(NEW)
            elif drawn < new + duplicates:
                duplicates -= 1
                kinds.append(DUPLICATE)
            else:
                kinds.append(OTHER_PAYLOAD if left & 1 else OTHER_SOURCE)

    def _draw_keys(self, request: int, draw: Callable[[], float]) -> None:
        keys, kinds, topic_of, stamps = self.keys, self.kinds, self.topic_of, self.stamps
        positions = self.positions(request)
        topics = self.shape.topics
        self._keys_before.append(len(topic_of))
        self.markers.append(self._marker(positions))
        for position in positions:
            kind = kinds[position]
            if kind == NEW:
                key = len(topic_of)
                topic = int(draw() * topics)
                topic_of.append(topic)
                stamps.append(0)
                self.unique_of[topic] += 1
            else:
                key = self._earlier(position, request, draw)
                topic = topic_of[key]
            keys.append(key)
            self.events_of[topic] += 1
            if kind >= OTHER_PAYLOAD:
                self.conflicts_of[topic] += 1
            else:
                stamps[key] |= 1 << position % STAMPS

    def _marker(self, positions: range) -> int:
        """Reserve the last new key of a request for it, unless the others had no key to repeat."""
        new = self.kinds.count(NEW, positions.start, positions.stop)
        last = len(self.topic_of) + new - 1
        return last if new and last and len(positions) > 1 else NO_MARKER

    def _earlier(self, position: int, request: int, draw: Callable[[], float]) -> int:
        """Draw a key of an event before this one."""
        start = request * self.shape.batch
        where = draw()
        in_flight = self.shape.concurrency * self.shape.batch
        if self.kinds[position] == DUPLICATE:
            low = max(0, start - in_flight) if where < _RECENT else 0
            high = start if where < _RECENT else position
            nearby = where < _SAME_REQUEST
        else:
            # So far back that its first event is stored by now, or where no request waits for it.
            low, high = 0, start - 2 * in_flight
            nearby = where < _SAME_REQUEST or high <= 0
            high = high if high > 0 else start
        if nearby and position > start:
            return self.keys[start + int(draw() * (position - start))]
        for _ in range(_DRAWS if high > low else 0):
            drawn = low + int(draw() * (high - low))
            key = self.keys[drawn]
            if drawn >= start or key != self.markers[drawn // self.shape.batch]:
                return key
        # Key 0 is never a marker, and before any other event.
        return 0
