"""The content of the plan's events, computed from their keys alone.

The same key always has the same bytes, so that the log can be compared with them without a copy of
the events that were sent.
"""

import random
from collections.abc import Callable, Sequence

from publisher.events import EncodedEvent
from publisher.load.plan import OTHER_PAYLOAD, OTHER_SOURCE, STAMPS, Plan

MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES = 120, 2**20

_BLOCK = 1024
_SOURCES = 16
_FILLER_STARTS = 4096
_LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789 "
_DAY = "2026-01-31"
# Everything that a store could change: white space, a zero at the end, an escape, bytes above
# ASCII, more digits than a double has.
_PAYLOAD_HEAD = b'{"number": %d, "total": %d.%b, "name": "Zo\\u00eb \xc3\xa9", "big": %d, "text": "'


class Content:
    """Computes the content of a plan's events.

    Args:
        plan: the plan.
        ids: the function from the number of a key to its event_id, made by `ids_for`.
        topics: the names of the topics, in the order of the plan's numbers.
        payload_bytes: size of each payload, from MIN_PAYLOAD_BYTES to MAX_PAYLOAD_BYTES.
    """

    def __init__(
        self, plan: Plan, ids: Callable[[int], str], topics: Sequence[str], payload_bytes: int
    ) -> None:
        shape = plan.shape
        self._plan = plan
        self._ids = ids
        self._topics = list(topics)
        self._payload_bytes = payload_bytes
        chance = random.Random(shape.seed)
        self._filler = bytes(chance.choices(_LETTERS, k=_FILLER_STARTS + payload_bytes))
        self._full = shape.unique - shape.unique % _BLOCK
        self._in_block = chance.sample(range(_BLOCK), _BLOCK)
        self._in_last = chance.sample(range(shape.unique % _BLOCK), shape.unique % _BLOCK)

    def topic(self, key: int) -> str:
        """Return the topic of a key."""
        return self._topics[self._plan.topic_of[key]]

    def event_id(self, key: int) -> str:
        """Return the event_id of a key."""
        return self._ids(self._number(key))

    def source(self, key: int) -> str:
        """Return the source of a key's event, that of a conflict apart."""
        return f"node-{key % _SOURCES}"

    def timestamp(self, key: int, stamp: int) -> str:
        """Return the timestamp of a key's event in the form of the aggregator.

        Args:
            key: the key.
            stamp: which of its timestamps, 0 to STAMPS - 1.
        """
        return self._timestamp(self._number(key), stamp)

    def payload(self, key: int) -> bytes:
        """Return the payload of a key's event, that of a conflict apart."""
        return self._payload(key, b"10")

    def event(self, position: int) -> EncodedEvent:
        """Return the encoded event at a position of the plan."""
        key, kind = self._plan.keys[position], self._plan.kinds[position]
        topic = self._topics[self._plan.topic_of[key]]
        number = self._number(key)
        event_id = self._ids(number)
        head = (
            f'{{"topic":"{topic}","event_id":"{event_id}",'
            f'"timestamp":"{self._timestamp(number, position % STAMPS)}",'
            f'"source":"node-{"other" if kind == OTHER_SOURCE else key % _SOURCES}","payload":'
        )
        payload = self._payload(key, b"11" if kind == OTHER_PAYLOAD else b"10")
        return EncodedEvent(topic, event_id, b"%b%b}" % (head.encode(), payload))

    @staticmethod
    def _timestamp(number: int, stamp: int) -> str:
        minute, second = divmod(number * 7919 % 86_400, 60)
        hour, minute = divmod(minute, 60)
        return f"{_DAY}T{hour:02}:{minute:02}:{second:02}.{number % 100_000:05}{stamp}Z"

    def _payload(self, key: int, cents: bytes) -> bytes:
        head = _PAYLOAD_HEAD % (key, key % 1000, cents, 10**19 + key)
        start = key * 31 % _FILLER_STARTS
        return b'%b%b"}' % (head, self._filler[start : start + self._payload_bytes - len(head) - 2])

    def _number(self, key: int) -> int:
        """Return the number of a key, such that numbers arrive out of order."""
        block, place = divmod(key, _BLOCK)
        if key >= self._full:
            return self._full + self._in_last[place]
        return block * _BLOCK + self._in_block[place]
