"""A client library that follows the topics of an aggregator.

async with follow("http://127.0.0.1:8080", "orders", start="start") as events:
    async for event in events:
        print(event.offset, event.payload)
"""

from subscriber.errors import FollowError, FollowGaveUp, FollowRefused, GapError, HoleError
from subscriber.events import Event, Gap
from subscriber.follow import follow
from subscriber.following import Following
from subscriber.policy import ReconnectPolicy, Wait

__all__ = [
    "Event",
    "FollowError",
    "FollowGaveUp",
    "FollowRefused",
    "Following",
    "Gap",
    "GapError",
    "HoleError",
    "ReconnectPolicy",
    "Wait",
    "follow",
]
