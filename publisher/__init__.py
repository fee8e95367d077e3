"""A client library that publishes events to an aggregator, at least once.

async with Publisher("http://127.0.0.1:8080") as publisher:
    verdict = await publisher.publish(Event("orders", {"total": 42}, source="shop"))
"""

from publisher.batching import Limits
from publisher.blocking import publish
from publisher.client import Publisher
from publisher.credentials import Credentials
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
from publisher.ids import NumberedIds, TimeNodeId, TimeNodeIds, uuid7
from publisher.response import Verdict
from publisher.retry import Retry, RetryPolicy
from publisher.tokens import CredentialsInvalid

__all__ = [
    "Credentials",
    "CredentialsInvalid",
    "Event",
    "EventInvalid",
    "EventRejected",
    "Limits",
    "NotSent",
    "NumberedIds",
    "PublishAbandoned",
    "PublishError",
    "PublishGaveUp",
    "PublishRefused",
    "Publisher",
    "Retry",
    "RetryPolicy",
    "TimeNodeId",
    "TimeNodeIds",
    "TlsError",
    "Verdict",
    "publish",
    "uuid7",
]
