"""The events of a measurement, with a known number of new ones."""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from publisher.ids import uuid7

_REMEMBERED = 10_000
"""The number of latest events from which duplicates are drawn."""

_KINDS_OF_ID: dict[str, Callable[[], str]] = {
    "uuid4": lambda: str(uuid.uuid4()),
    "uuid7": uuid7,
}


class Workload(NamedTuple):
    """A workload; its defaults are those of the standard one."""

    batch: int = 100
    """The number of events in a request."""
    connections: int = 16
    duplicates: float = 0.3
    """The share of events that were sent before."""
    topics: int = 8
    ids: str = "uuid4"
    payload_bytes: int = 150


class Row(NamedTuple):
    """An event as a row of a database."""

    topic: str
    event_id: str
    timestamp_us: int
    source: str
    payload: str


class Batch(NamedTuple):
    """The events of one request."""

    rows: list[Row]
    new: int
    """The number of its events that were not sent before."""

    def body(self) -> bytes:
        """Return the request's body: one event, or an array."""
        events = [encode(row) for row in self.rows]
        return events[0] if len(events) == 1 else b"[" + b",".join(events) + b"]"


_EVENT = b'{"topic":"%b","event_id":"%b","timestamp":"%b","source":"%b","payload":%b}'


def encode(row: Row) -> bytes:
    """Return an event in its published form."""
    moment = datetime.fromtimestamp(row.timestamp_us / 1_000_000, UTC)
    timestamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = (row.topic, row.event_id, timestamp, row.source, row.payload)
    return _EVENT % tuple(text.encode() for text in fields)


def batches(workload: Workload, events: int, seed: int = 0) -> Iterator[Batch]:
    """Draw requests with so many events in all; the seed decides their topics and duplicates."""
    chance = random.Random(seed)
    new_id = _KINDS_OF_ID[workload.ids]
    filler = "x" * max(0, workload.payload_bytes - len('{"text":"","number":1000000}'))
    sent: list[Row] = []
    made = 0

    def row() -> tuple[Row, bool]:
        nonlocal made
        if sent and chance.random() < workload.duplicates:
            return chance.choice(sent), False
        made += 1
        new = Row(
            topic=f"topic-{chance.randrange(workload.topics)}",
            event_id=new_id(),
            timestamp_us=time.time_ns() // 1000,
            source="benchmark",
            payload=f'{{"text":"{filler}","number":{1_000_000 + made % 9_000_000}}}',
        )
        if len(sent) < _REMEMBERED:
            sent.append(new)
        else:
            sent[made % _REMEMBERED] = new
        return new, True

    for start in range(0, events, workload.batch):
        pairs = [row() for _ in range(min(workload.batch, events - start))]
        yield Batch([event for event, _ in pairs], sum(is_new for _, is_new in pairs))
