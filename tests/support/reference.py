"""What the log should hold: a model of plain dicts and lists that shares no code with storage."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from storage.model import Event


def json_value(text: str) -> object:
    """A JSON text as a value that `==` compares as JSON: exact numbers, 1 is not true.

    For numbers with small exponents only: it writes them out.
    """
    return _tagged(json.loads(text, parse_int=Fraction, parse_float=Fraction))


def _tagged(value: Any) -> object:
    if isinstance(value, dict):
        return "object", {name: _tagged(member) for name, member in value.items()}
    if isinstance(value, list):
        return "array", [_tagged(element) for element in value]
    return type(value).__name__, value


class Told(NamedTuple):
    """A verdict, by the words of the contract."""

    topic: str
    event_id: str
    status: str
    offset: int


class Reference:
    """The log as the contract describes it; `publish` is one request."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Event]] = {}
        self._offsets: dict[tuple[str, str], int] = {}
        self._outcomes: dict[str, list[str]] = {}

    def publish(self, batch: Sequence[Event]) -> list[Told]:
        """Store what is new, and say what became of each event."""
        told = []
        for event in batch:
            key = (event.topic, event.event_id)
            log = self.logs.setdefault(event.topic, [])
            if key not in self._offsets:
                log.append(event)
                self._offsets[key] = len(log)
                status = "stored"
            else:
                first = log[self._offsets[key] - 1]
                same = first.source == event.source and (
                    json_value(first.payload) == json_value(event.payload)
                )
                status = "duplicate" if same else "conflict"
            self._outcomes.setdefault(event.topic, []).append(status)
            told.append(Told(*key, status, self._offsets[key]))
        return told

    def find(self, topic: str, event_id: str) -> tuple[int, Event] | None:
        """The offset and the event of a key."""
        offset = self._offsets.get((topic, event_id))
        return None if offset is None else (offset, self.logs[topic][offset - 1])

    def counts(self) -> dict[str, tuple[int, int, int, int]]:
        """Per topic: received, unique_processed, duplicate_dropped, conflicts."""
        return {
            topic: (
                len(outcomes),
                outcomes.count("stored"),
                len(outcomes) - outcomes.count("stored"),
                outcomes.count("conflict"),
            )
            for topic, outcomes in self._outcomes.items()
        }

    def rows(self) -> list[tuple[str, int, str, int, str, str]]:
        """What is stored, by topic and offset."""
        return [
            (topic, offset, e.event_id, e.timestamp_us, e.source, e.payload)
            for topic, log in sorted(self.logs.items())
            for offset, e in enumerate(log, start=1)
        ]
