"""A double of an aggregator with the subscription `billing`, and subscribers in virtual time."""

import asyncio
from typing import Any

from subscriber import ReconnectPolicy, Subscriber, Wait
from subscriber.testing import InMemoryAggregator
from support.library_calls import TroubledCalls
from support.library_time import VirtualLoop

PATIENT = ReconnectPolicy(first_wait_s=0.1, max_wait_s=1.0)


class Scene:
    """A double, the calls of a subscriber to it, and what it waited for.

    The clock of the double is that of the event loop, which is a virtual one.

    Args:
        count: of the events of each topic.
        topics: of the subscription.
        settings: of the subscription.
    """

    def __init__(self, count: int = 3, *topics: str, **settings: Any) -> None:
        self.topics = topics or ("orders",)
        self.aggregator = InMemoryAggregator()
        self.aggregator.create(
            "billing", {"topics": list(self.topics), "from": "start", "backoff_ms": [0], **settings}
        )
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.passed = self.aggregator.advance
        self.publish(count)
        self.calls = TroubledCalls(self.aggregator)
        self.waits: list[Wait] = []

    def publish(self, count: int, *topics: str) -> None:
        """Publish so many events to topics; all of the subscription, if none is given."""
        for topic in topics or self.topics:
            for _ in range(count):
                self.aggregator.publish(topic, {})

    def subscriber(self, **options: Any) -> Subscriber:
        """A subscriber that goes by the scene's calls."""
        options = {
            "policy": PATIENT,
            "on_wait": self.waits.append,
            "consumer": "worker",
            "calls": self.calls,
            **options,
        }
        return Subscriber("http://in-memory", "billing", **options)

    @property
    def counts(self) -> list[int]:
        """Acknowledged, dead, leased and waiting."""
        status = self.aggregator.subscription("billing")
        return [status.acknowledged, status.dead, status.leased, status.waiting]
