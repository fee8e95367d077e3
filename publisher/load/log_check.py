"""The check of the log, read back, against the plan and the verdicts."""

from array import array
from collections.abc import Callable

from publisher.load.content import Content
from publisher.load.findings import LOG, Findings
from publisher.load.read_back import Reader, StoredEvent
from publisher.load.verdict_check import VerdictCheck

_QUOTED_CHARACTERS = 200


class TopicCheck:
    """Checks the events of one topic that were stored during the run, in the order of the log.

    Args:
        topic: the name of the topic.
        head: its head offset before the run, behind which the reading begins.
        key_at: the keys in the order of their offsets, from `VerdictCheck.finish`.
        content: the content of the plan's events.
        verdicts: the verdicts of the run.
        findings: the differences.
    """

    def __init__(
        self,
        topic: str,
        head: int,
        key_at: "array[int]",
        content: Content,
        verdicts: VerdictCheck,
        findings: Findings,
    ) -> None:
        self._topic = topic
        self._head = head
        self._key_at = key_at
        self._content = content
        self._verdicts = verdicts
        self._findings = findings
        self._next = head + 1
        self._ts_ingest = ""
        findings.start(LOG)

    def check(self, event: StoredEvent) -> None:
        """Check the next event of the log."""
        offset = event.offset
        if offset < self._next:
            self._add(f"gives offset {offset:,} behind {self._next - 1:,}")
            return
        if offset > self._next:
            self._check_missing(offset - 1)
        self._next = offset + 1
        if event.topic != self._topic:
            self._add(f"has an event of topic {event.topic!r} at offset {offset:,}")
        if event.ts_ingest < self._ts_ingest:
            self._add(
                f"has ts_ingest {event.ts_ingest} at offset {offset:,}, before {self._ts_ingest}"
            )
        self._ts_ingest = event.ts_ingest
        place = offset - self._head - 1
        key = self._key_at[place] if place < len(self._key_at) else -1
        if key == -1:
            self._add(f"has event {event.event_id!r} at offset {offset:,}, which no verdict has")
        elif event.event_id != (expected := self._content.event_id(key)):
            self._add(f"has event {event.event_id!r} at offset {offset:,}, expected {expected!r}")
        else:
            self._check_fields(event, key)

    def finish(self) -> None:
        """Check that no event is missing at the end of the log."""
        self._check_missing(self._head + len(self._key_at))

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
            sent := [content.timestamp(key, stamp) for stamp in self._verdicts.stamps(key)]
        ):
            self._field(event, "timestamp", event.timestamp, " or ".join(sent))

    def _field(self, event: StoredEvent, field: str, observed: str, expected: str) -> None:
        self._add(
            f"has {field} {_cut(observed)} in event {event.event_id!r} at offset "
            f"{event.offset:,}, expected {_cut(expected)}"
        )

    def _check_missing(self, last: int) -> None:
        """Record that the log has no event from the next offset to the last."""
        if last < self._next:
            return
        place = self._next - self._head - 1
        key = self._key_at[place] if place < len(self._key_at) else -1
        named = "" if key == -1 else f" (the first is event {self._content.event_id(key)!r})"
        offsets = (
            f"offset {last:,}" if last == self._next else f"offsets {self._next:,} to {last:,}"
        )
        self._add(f"has no event at {offsets}{named}")

    def _add(self, sentence: str) -> None:
        self._findings.add(LOG, f"the log of topic {self._topic!r} {sentence}")


async def check_topic(
    reader: Reader, check: TopicCheck, topic: str, head: int, on_events: Callable[[int], object]
) -> None:
    """Read a topic behind its head offset before the run and check every event.

    Args:
        reader: reads from the aggregator.
        check: the check of the topic.
        topic: the name of the topic.
        head: its head offset before the run.
        on_events: called with the number of events of each page.

    Raises:
        ReadFailed: the log can't be read.
    """
    async for page in reader.pages(topic, head):
        for event in page:
            check.check(event)
        on_events(len(page))
    check.finish()


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}…"
