"""Events for tests."""

import itertools
from typing import Any

from storage.model import Event

_numbers = itertools.count(1)


def published(**changes: Any) -> dict[str, Any]:
    """A valid event as it is published, with an id of its own unless one is given."""
    event: dict[str, Any] = {
        "topic": "orders",
        "event_id": f"e-{next(_numbers)}",
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "shop",
        "payload": {"total": 42},
    }
    return event | changes


def event(topic: str, event_id: str, payload: str = "{}", source: str = "shop") -> Event:
    """An event as a store takes it."""
    return Event(topic, event_id, 1_769_860_800_000_000, source, payload)
