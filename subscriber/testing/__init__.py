"""A double of an aggregator, so that handlers are tested without a server.

aggregator = InMemoryAggregator()
aggregator.create("billing", {"topics": ["orders"], "from": "start"})
aggregator.publish("orders", {"total": 42})
async with aggregator.subscriber("billing") as subscriber:
    await subscriber.run(handle, until_caught_up=True)
assert aggregator.subscription("billing").acknowledged == 1
"""

from subscriber.testing.aggregator import InMemoryAggregator
from subscriber.testing.log import Published
from subscriber.testing.views import Counts, DeadLetter, Revived, Sought, SubscriptionStatus

__all__ = [
    "Counts",
    "DeadLetter",
    "InMemoryAggregator",
    "Published",
    "Revived",
    "Sought",
    "SubscriptionStatus",
]
