"""Deliveries as a subscriber hands them out, and what is told of them in its place."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from subscriber.calls.requests import Delivered
from subscriber.delivery import Batch, Delivery, Fate


class Lease:
    """Holds deliveries, and takes every settle for done."""

    async def _answer(self) -> None:
        pass

    def settle(
        self,
        deliveries: Sequence[Delivery],
        fate: Fate,
        *,
        after_ms: int | None = None,
        error: str | None = None,
    ) -> asyncio.Future[None]:
        self.told = (fate, after_ms, error)
        for delivery in deliveries:
            delivery.fate = fate
        return asyncio.ensure_future(self._answer())


def event_json(topic: str, offset: int, **changes: Any) -> bytes:
    """An event as an aggregator sends it."""
    event = {
        "topic": topic,
        "event_id": f"e-{offset}",
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "shop",
        "payload": {"total": 42},
        "offset": offset,
        "ts_ingest": "2026-01-31T12:00:01Z",
    }
    return json.dumps(event | changes).encode()


def delivery(topic: str, offset: int, json: bytes | None = None) -> Delivery:
    """A delivery of an event."""
    return Delivery(
        Lease(), Delivered(topic, offset, 1, event_json(topic, offset) if json is None else json)
    )


def batch(topic: str, *offsets: int) -> Batch:
    """A batch of events of one topic."""
    return Batch(delivery(topic, offset) for offset in offsets)


def batch_of(*events: tuple[str, int]) -> Batch:
    """A batch of events, each a topic and an offset."""
    return Batch(delivery(topic, offset) for topic, offset in events)
