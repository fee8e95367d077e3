"""Publishing to an aggregator, at least once: a client of it like any other.

async with Publisher("http://127.0.0.1:8080") as publisher:
    verdict = await publisher.publish(Event("orders", {"total": 42}, source="shop"))
"""

from publisher.answers import Verdict
from publisher.blocking import publish
from publisher.buffer import Limits
from publisher.client import Publisher
from publisher.delivery import Retry, RetryPolicy
from publisher.errors import (
    EventInvalid,
    EventRejected,
    NotSent,
    PublishAbandoned,
    PublishError,
    PublishGaveUp,
    PublishRefused,
    TlsError,
)
from publisher.events import Event

__all__ = [
    "Event",
    "EventInvalid",
    "EventRejected",
    "Limits",
    "NotSent",
    "PublishAbandoned",
    "PublishError",
    "PublishGaveUp",
    "PublishRefused",
    "Publisher",
    "Retry",
    "RetryPolicy",
    "TlsError",
    "Verdict",
    "publish",
]
