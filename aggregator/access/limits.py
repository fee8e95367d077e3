"""The limits of entries: what each of them has used up, in this process."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from aggregator.access.bucket import Bucket
from aggregator.access.entries import EntryLimits
from aggregator.access.errors import OverLimit, Quota

MAX_BUCKETS = 100_000
"""Greatest number of buckets that are kept; names come from the tokens file and may change."""

_SECOND_NS = 1_000_000_000
_DAY_S = 86_400
_STREAM_RETRY_AFTER_S = 1
"""A stream may end at any time."""


class _Kind(NamedTuple):
    name: str
    in_words: str
    window_s: int
    unit: str | None = None


_EVENTS = _Kind("events", "events a second", 1)
_BYTES = _Kind("bytes", "bytes a second", 1, "content-bytes")
_TOPICS = _Kind("new-topics", "new topics a day", _DAY_S)


class Usage:
    """The usage of all entries that have limits.

    A bucket that is full again is the same as none. So what is kept of an entry that is gone or
    quiet goes in time, and a limit that changes counts with what was taken under the old one.

    Args:
        now_ns: the time, in nanoseconds of a clock that never goes back.
        max_buckets: greatest number of buckets that are kept. Above it, the oldest are forgotten.
    """

    def __init__(
        self, now_ns: Callable[[], int] = time.monotonic_ns, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self._now_ns = now_ns
        self._max_buckets = max_buckets
        self._buckets: dict[tuple[str, _Kind], Bucket] = {}
        self._streams: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of buckets that are kept."""
        return len(self._buckets)

    def admit(
        self, name: str, limits: EntryLimits, *, events: int, size: int, new_topics: int = 0
    ) -> None:
        """Count a publish, if it is within the limits; else nothing is counted.

        Args:
            name: of the entry, or of who has its rights.
            limits: of the entry.
            events: that were received.
            size: bytes that were received.
            new_topics: topics that it makes.

        Raises:
            OverLimit: it is not, by the limit that needs the longest wait.
        """
        amounts = self._amounts(limits, events, size, new_topics)
        now_ns = self._now_ns()
        taken: list[tuple[Bucket, int]] = []
        longest_ns = 0
        over: tuple[_Kind, Bucket] | None = None
        for kind, quota, amount in amounts:
            bucket = self._bucket(name, kind, quota, now_ns)
            if (wait_ns := bucket.wait_ns(amount, now_ns)) > longest_ns:
                longest_ns, over = wait_ns, (kind, bucket)
            taken.append((bucket, amount))
        if over is not None:
            kind, bucket = over
            raise _over(name, kind, bucket.quota, bucket.left(now_ns), -(-longest_ns // _SECOND_NS))
        for bucket, amount in taken:
            bucket.take(amount)

    def new_topics_left(self, name: str, limits: EntryLimits) -> int:
        """Return how many topics an entry may make now that has a limit of them."""
        if not limits.new_topics_per_day:
            return 0
        now_ns = self._now_ns()
        return self._bucket(name, _TOPICS, limits.new_topics_per_day, now_ns).left(now_ns)

    def open_stream(self, name: str, limits: EntryLimits) -> None:
        """Count a stream that is opened, until `close_stream` is called.

        Raises:
            OverLimit: as many are open as may be; it is not counted.
        """
        if limits.streams is not None and self._streams[name] >= limits.streams:
            raise OverLimit(
                f"{name!r} has {self._streams[name]} streams open, and may have {limits.streams}",
                Quota("streams", limits.streams, None, "concurrent-requests"),
                retry_after_s=_STREAM_RETRY_AFTER_S,
            )
        self._streams[name] += 1

    def close_stream(self, name: str) -> None:
        """Count a stream no more."""
        self._streams[name] -= 1
        if not self._streams[name]:
            del self._streams[name]

    @staticmethod
    def _amounts(
        limits: EntryLimits, events: int, size: int, new_topics: int
    ) -> Iterable[tuple[_Kind, int, int]]:
        if limits.events_per_second is not None:
            yield _EVENTS, limits.events_per_second, events
        if limits.bytes_per_second is not None:
            yield _BYTES, limits.bytes_per_second, size
        if new_topics and limits.new_topics_per_day:
            yield _TOPICS, limits.new_topics_per_day, new_topics

    def _bucket(self, name: str, kind: _Kind, quota: int, now_ns: int) -> Bucket:
        key = name, kind
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._make_room(now_ns)
            bucket = self._buckets[key] = Bucket(quota, kind.window_s, now_ns)
        elif bucket.quota != quota:
            bucket.set_quota(quota, now_ns)
        return bucket

    def _make_room(self, now_ns: int) -> None:
        kept = {key: each for key, each in self._buckets.items() if not each.is_full(now_ns)}
        # A tenth, so that not every new one looks at all.
        surplus = max(0, len(kept) - self._max_buckets * 9 // 10)
        for key in list(kept)[:surplus]:
            del kept[key]
        self._buckets = kept


def _over(name: str, kind: _Kind, quota: int, left: int, retry_after_s: int) -> OverLimit:
    return OverLimit(
        f"{name!r} is over its limit of {quota} {kind.in_words}, and nothing of the request was "
        f"stored; send it again in {retry_after_s} s",
        Quota(kind.name, quota, kind.window_s, kind.unit),
        left=left,
        retry_after_s=retry_after_s,
    )
