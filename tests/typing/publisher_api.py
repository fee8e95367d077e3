"""The types of the public API of `publisher`, as mypy sees them; nothing here is run.

`tox -e types` checks it: `assert_type` says what a call gives, and a `type: ignore` with its code
that a use is refused, for one that is not needed is an error too.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import assert_type

from publisher import (
    Event,
    Limits,
    NumberedIds,
    Publisher,
    PublishError,
    PublishGaveUp,
    PublishRefused,
    Retry,
    RetryPolicy,
    TimeNodeIds,
    Verdict,
    publish,
    uuid7,
)


async def publishers() -> None:
    """What a Publisher takes and gives."""
    async with Publisher("http://127.0.0.1:8080") as publisher:
        assert_type(publisher, Publisher)
        event = Event("orders", {"total": 42.1}, source="shop")
        assert_type(await publisher.publish(event), Verdict)
        assert_type(await publisher.submit(event), asyncio.Future[Verdict])
        assert_type(await publisher.flush(), None)
        await publisher.publish({"total": 42.1})  # type: ignore[arg-type]
        publisher.publish("orders", {})  # type: ignore[call-arg, arg-type, unused-coroutine]


def policies(notes: list[Retry]) -> None:
    """What a Publisher is set up with."""
    Publisher("http://x", limits=Limits(max_batch_events=10), policy=RetryPolicy(deadline_s=1))
    Publisher("http://x", on_retry=notes.append, ordered=True, max_requests_in_flight=2)
    Publisher("http://x", on_retry=lambda: None)  # type: ignore[arg-type, misc]


def events(now: datetime) -> None:
    """What an Event takes."""
    event = Event("orders", b'{"total": 42.10}', "shop", event_id="a", timestamp="2026-01-31")
    assert_type(event.event_id, str)
    assert_type(event.timestamp, datetime | str)
    Event("orders", {}, source="shop", timestamp=now)
    Event("orders", ["no object"], source="shop")  # type: ignore[arg-type]
    Event("orders", {}, source="shop", event_id=17)  # type: ignore[arg-type]
    Event("orders", {})  # type: ignore[call-arg]
    event.topic = "payments"  # type: ignore[misc]
    assert_type(uuid7(), str)


def verdicts(verdict: Verdict) -> None:
    """What a verdict has."""
    assert_type(verdict.offset, int)
    assert_type(verdict.event_id, str)


def blocking(some: list[Event]) -> None:
    """What the blocking call takes and gives."""
    assert_type(publish("http://x", some), list[Verdict | PublishError])
    publish("http://x", (event for event in some), ordered=True)

    async def asynchronous() -> AsyncIterator[Event]:
        yield some[0]

    publish("http://x", asynchronous())  # type: ignore[arg-type]


def errors(refused: PublishRefused, gave_up: PublishGaveUp) -> None:
    """What errors tell."""
    assert_type(refused.status, int | None)
    assert_type(refused.may_be_stored, bool)
    assert_type(gave_up.attempts, int)


def ids(numbered: NumberedIds, timed: TimeNodeIds) -> None:
    """What makes ids."""
    assert_type(numbered(), str)
    assert_type(timed(), str)
    numbered(17)  # type: ignore[call-arg]
