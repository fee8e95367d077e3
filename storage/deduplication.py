"""Deduplication of a batch, the same for every backend: verdicts, new rows, counts.

A backend locks the topics of the batch, adds the stored events whose keys the batch repeats, and
writes what is decided. Nothing here touches a database, so every rule of deduplication can be
read, and tested, in one place.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from storage.json_equality import same_json
from storage.model import Counts, Event, Status, StoredEvent, Verdict

# To look one up in its enumeration takes as long as to make a verdict.
_STORED, _DUPLICATE, _CONFLICT = Status.STORED, Status.DUPLICATE, Status.CONFLICT

Key = tuple[str, str]
"""The dedup key: (topic, event_id)."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of a topic's log, read under its lock.

    Args:
        offset: the last one given, 0 for a new topic.
        ts_ingest_us: what a row that is stored now gets: the present time in microseconds, but
            never less than the topic's last row has.
    """

    offset: int
    ts_ingest_us: int


class Decision(msgspec.Struct, frozen=True):
    """The outcome of a batch, before it is written.

    Args:
        verdicts: what to answer, one per event in the order sent.
        rows: the events to store.
        counts: what to add to the counts of each topic.
    """

    verdicts: list[Verdict]
    rows: list[StoredEvent]
    counts: dict[str, Counts]


class BatchDeduplicator:
    """Deduplicates one batch against the stored events that are added to it.

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
        """Each dedup key of the batch once: what to probe for."""
        return self._indexes.keys()

    def add_stored(self, key: Key, offset: int, source: str, payload: str) -> None:
        """Add the event that is stored under a key of the batch, and compare its repeats with it.

        The stored payload is not kept: small events may repeat large stored ones.

        Args:
            key: one of `keys`.
            offset: of the stored event.
            source: of the stored event.
            payload: of the stored event, its JSON text.
        """
        self._offsets[key] = offset
        self._compare(self._indexes[key], source, payload)

    def characters_to_compare(self, key: Key, payload: str) -> int:
        """Count the characters of JSON that `add_stored` parses for a key; none for equal texts."""
        repeats = (self._batch[index].payload for index in self._indexes[key])
        return sum(len(text) + len(payload) for text in repeats if text != payload)

    def characters_to_decide(self) -> int:
        """Count the characters of JSON that `decide` parses at most, for keys repeated within."""
        return sum(
            self.characters_to_compare(key, self._batch[indexes[0]].payload)
            for key, indexes in self._indexes.items()
            if len(indexes) > 1
        )

    def decide(self, heads: Mapping[str, Head]) -> Decision:
        """Decide the batch, once every event that is stored has been added.

        Args:
            heads: the head of each topic in `topics`, read under its lock.

        Returns:
            The verdicts, the rows to store and the counts to add.
        """
        batch, stored, conflicting = self._batch, self._offsets, self._conflicts
        tail = {topic: head.offset for topic, head in heads.items()}
        repeated = dict.fromkeys(self.topics, 0)
        conflicts = dict.fromkeys(self.topics, 0)
        rows: list[StoredEvent] = []
        verdicts: dict[int, Verdict] = {}
        for key, indexes in self._indexes.items():
            topic, event_id = key
            repeats: Sequence[int] = indexes
            if key in stored:
                offset = stored[key]
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
