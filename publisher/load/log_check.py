"""The log read back, held against the plan and what was told."""

from array import array
from collections.abc import Callable

from publisher.load.content import Content
from publisher.load.findings import LOG, Findings
from publisher.load.read_back import Reader, StoredEvent
from publisher.load.verdict_check import Told

_QUOTED_CHARACTERS = 200


class TopicCheck:
    """Holds the events of one topic, as they are read behind its head offset before the run,
    against the keys that belong there.

    head: that head offset. key_at: from `Told.settle`, the keys in the order of their offsets.
    """

    def __init__(
        self,
        topic: str,
        head: int,
        key_at: "array[int]",
        content: Content,
        told: Told,
        findings: Findings,
    ) -> None:
        self._topic = topic
        self._head = head
        self._key_at = key_at
        self._content = content
        self._told = told
        self._findings = findings
        self._next = head + 1
        self._ts_ingest = ""
        findings.made(LOG)

    def take(self, event: StoredEvent) -> None:
        """Check the next event of the log."""
        offset = event.offset
        if offset < self._next:
            self._off(f"gives offset {offset:,} behind {self._next - 1:,}")
            return
        if offset > self._next:
            self._lacks(offset - 1)
        self._next = offset + 1
        if event.topic != self._topic:
            self._off(f"has an event of topic {event.topic!r} at offset {offset:,}")
        if event.ts_ingest < self._ts_ingest:
            self._off(
                f"has ts_ingest {event.ts_ingest} at offset {offset:,}, before {self._ts_ingest}"
            )
        self._ts_ingest = event.ts_ingest
        place = offset - self._head - 1
        key = self._key_at[place] if place < len(self._key_at) else -1
        if key == -1:
            self._off(f"has event {event.event_id!r} at offset {offset:,}, where none was told")
        elif event.event_id != (expected := self._content.event_id(key)):
            self._off(f"has event {event.event_id!r} at offset {offset:,}, expected {expected!r}")
        else:
            self._check_fields(event, key)

    def end(self) -> None:
        """Check that nothing is missing when the log has ended."""
        self._lacks(self._head + len(self._key_at))

    def _check_fields(self, event: StoredEvent, key: int) -> None:
        content = self._content
        if bytes(event.payload) != content.payload(key):
            self._field(
                event, "payload", bytes(event.payload).decode(), content.payload(key).decode()
            )
        if event.source != content.source(key):
            self._field(event, "source", event.source, content.source(key))
        # The last digit is the stamp; the rest is of the key alone.
        if event.timestamp not in (
            sent := [content.timestamp(key, stamp) for stamp in self._told.stamps(key)]
        ):
            self._field(event, "timestamp", event.timestamp, " or ".join(sent))

    def _field(self, event: StoredEvent, field: str, observed: str, expected: str) -> None:
        self._off(
            f"has {field} {_cut(observed)} in event {event.event_id!r} at offset "
            f"{event.offset:,}, expected {_cut(expected)}"
        )

    def _lacks(self, last: int) -> None:
        """Note that there is nothing from the next offset to the last."""
        if last < self._next:
            return
        place = self._next - self._head - 1
        key = self._key_at[place] if place < len(self._key_at) else -1
        named = "" if key == -1 else f" (the first is event {self._content.event_id(key)!r})"
        offsets = (
            f"offset {last:,}" if last == self._next else f"offsets {self._next:,} to {last:,}"
        )
        self._off(f"has no event at {offsets}{named}")

    def _off(self, sentence: str) -> None:
        self._findings.differs(LOG, f"the log of topic {self._topic!r} {sentence}")


async def check_topic(
    reader: Reader, check: TopicCheck, topic: str, head: int, on_events: Callable[[int], object]
) -> None:
    """Read a topic behind its head offset before the run and check every event.

    on_events: told how many events were read, page by page.

    Raises ReadFailed.
    """
    async for page in reader.pages(topic, head):
        for event in page:
            check.take(event)
        on_events(len(page))
    check.end()


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}…"
