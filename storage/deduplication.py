"""The decision about a batch, the same for every backend: verdicts, new rows, counts.

A backend locks the topics of the batch, tells the ledger which keys it found, and writes
what the ledger decides. Nothing here touches a database, so every rule of deduplication can
be read, and tested, in one place.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from uuid import uuid4

import msgspec

from storage.json_equality import same_json
from storage.model import Counts, Event, Status, StoredEvent, Verdict

# To look one up in its enumeration takes as long as to make a verdict.
_STORED, _DUPLICATE, _CONFLICT = Status.STORED, Status.DUPLICATE, Status.CONFLICT

Key = tuple[str, str]
"""The dedup key: (topic, event_id)."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of a topic's log, read under its lock.

    `offset` is the last one given, 0 for a new topic; `ts_ingest_us` is what a row that is
    stored now gets: the present time, but never less than the topic's last row has.
    """

    offset: int
    ts_ingest_us: int


class Decision(msgspec.Struct, frozen=True):
    """What to answer (a verdict per event) and what to write: rows, and counts to add."""

    verdicts: list[Verdict]
    rows: list[StoredEvent]
    counts: dict[str, Counts]


class PendingAppend(NamedTuple):
    """What an append that was decided leaves behind, once it is committed."""

    append: str
    """Its id, a UUID, which the rows of its topics then bear."""
    before: Mapping[str, str | None]
    """The id that the row of each of its topics bore when it was decided."""
    heads: Mapping[str, int]
    """The head offset of each of its topics afterwards."""
    rows: Sequence[StoredEvent]
    """The new events."""

    @classmethod
    def of(
        cls, decision: Decision, heads: Mapping[str, Head], before: Mapping[str, str | None]
    ) -> "PendingAppend":
        """What is left behind by a decision that was made on these heads."""
        return cls(
            str(uuid4()),
            before,
            {
                topic: heads[topic].offset + counts.unique_processed
                for topic, counts in decision.counts.items()
            },
            decision.rows,
        )


class BatchDeduplicator:
    """Collects what is known of a batch, then settles it.

    Args:
        batch: events in the order sent; of a repeated new key the first one is stored.
    """

    def __init__(self, batch: Sequence[Event]) -> None:
        self._batch = batch
        self._indexes: dict[Key, list[int]] = {}
        self._offsets: dict[Key, int] = {}
        self._conflicts: set[int] = set()
        for index, event in enumerate(batch):
            self._indexes.setdefault((event.topic, event.event_id), []).append(index)
        self.topics = sorted({topic for topic, _ in self._indexes})
        """The topics of the batch in byte order: the order in which to lock them."""

    @property
    def keys(self) -> AbstractSet[Key]:
        """Each dedup key of the batch once: what to look for."""
        return self._indexes.keys()

    def found(self, key: Key, offset: int, source: str, payload: str) -> None:
        """Note that `key` is stored at `offset`, and compare with it every event of that key.

        The stored payload is not kept: small events may repeat large stored ones.
        """
        self._offsets[key] = offset
        self._compare(self._indexes[key], source, payload)

    def characters_to_compare(self, key: Key, payload: str) -> int:
        """How much JSON `found` has to read for this key: none where the texts are the same."""
        repeats = (self._batch[index].payload for index in self._indexes[key])
        return sum(len(text) + len(payload) for text in repeats if text != payload)

    def characters_to_settle(self) -> int:
        """How much JSON `settle` has to read at most, for keys that the batch itself repeats."""
        return sum(
            self.characters_to_compare(key, self._batch[indexes[0]].payload)
            for key, indexes in self._indexes.items()
            if len(indexes) > 1
        )

    def settle(self, heads: Mapping[str, Head]) -> Decision:
        """Decide, once every key that is stored has been `found`.

        Args:
            heads: the head of each topic in `topics`, read under its lock.
        """
        batch, known, conflicting = self._batch, self._offsets, self._conflicts
        tail = {topic: head.offset for topic, head in heads.items()}
        repeated = dict.fromkeys(self.topics, 0)
        conflicts = dict.fromkeys(self.topics, 0)
        rows: list[StoredEvent] = []
        verdicts: dict[int, Verdict] = {}
        for key, indexes in self._indexes.items():
            topic, event_id = key
            repeats: Sequence[int] = indexes
            if key in known:
                offset = known[key]
            else:
                index = indexes[0]
                event = batch[index]
                offset = tail[topic] = tail[topic] + 1
                verdicts[index] = Verdict(topic, event_id, _STORED, offset)
                rows.append(_stored(event, offset, heads[topic]))
                if len(indexes) == 1:
                    continue
                repeats = indexes[1:]
                self._compare(repeats, event.source, event.payload)
            repeated[topic] += len(repeats)
            for index in repeats:
                if index in conflicting:
                    conflicts[topic] += 1
                    verdicts[index] = Verdict(topic, event_id, _CONFLICT, offset)
                else:
                    verdicts[index] = Verdict(topic, event_id, _DUPLICATE, offset)
        counts = {
            topic: Counts(
                received=tail[topic] - heads[topic].offset + repeated[topic],
                unique_processed=tail[topic] - heads[topic].offset,
                duplicate_dropped=repeated[topic],
                conflicts=conflicts[topic],
            )
            for topic in self.topics
        }
        return Decision([verdicts[index] for index in range(len(batch))], rows, counts)

    def _compare(self, indexes: Iterable[int], source: str, payload: str) -> None:
        for index in indexes:
            event = self._batch[index]
            if event.source != source or not same_json(event.payload, payload):
                self._conflicts.add(index)


def _stored(event: Event, offset: int, head: Head) -> StoredEvent:
    return StoredEvent(
        event.topic,
        offset,
        event.event_id,
        event.timestamp_us,
        head.ts_ingest_us,
        event.source,
        event.payload,
    )
