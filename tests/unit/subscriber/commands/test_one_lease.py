"""A lease that is held while its events are printed: extended, and settled in parts."""

import asyncio
from typing import Any

import pytest

from subscriber.calls.requests import Delivered, Leased
from subscriber.commands.leasing.one_lease import OneLease, ranges
from subscriber.errors import LeaseLost, SubscriptionGaveUp


class Asked:
    """Stands in for what asks, and keeps what it was asked."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.failure = failure

    async def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        assert (method, path) == ("POST", "/billing/settle")
        self.bodies.append(body)
        if self.failure is not None:
            raise self.failure

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def lease(asked: Asked, *offsets: int, expires_in_s: float = 30.0) -> OneLease:
    """A lease of events of `orders`."""
    deliveries = [Delivered("orders", offset, 1, b"{}") for offset in offsets]
    leased = Leased("token", expires_in_s, deliveries, len(offsets), 0.0)
    return OneLease(asked, "billing", leased)  # type: ignore[arg-type]


def test_ranges_have_no_event_that_is_not_there() -> None:
    events = [("a", 1), ("a", 2), ("a", 4), ("b", 5), ("b", 6), ("a", 7)]
    deliveries = [Delivered(topic, offset, 1, b"{}") for topic, offset in events]
    assert ranges(deliveries) == [("a", 1, 2), ("a", 4, 4), ("b", 5, 6), ("a", 7, 7)]


async def test_many_ranges_go_in_several_requests() -> None:
    asked = Asked()
    await lease(asked, *range(1, 4002, 2)).settle("ack")
    sent = [body["ack"] for body in asked.bodies]
    assert [len(part) for part in sent] == [1000, 1000, 1]
    assert [each[1] for part in sent for each in part] == [*range(1, 4002, 2)]


async def test_it_is_extended_again_and_again_until_the_end() -> None:
    asked = Asked()
    async with asyncio.timeout(30), lease(asked, 1, expires_in_s=0.02).extended():
        while len(asked.bodies) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    extended = len(asked.bodies)
    await asyncio.sleep(0)
    assert asked.bodies == [{"lease": "token", "extend_ms": 1000}] * extended


async def test_extension_that_fails_is_left_to_who_settles() -> None:
    asked = Asked(LeaseLost("it is lost"))
    async with asyncio.timeout(30), lease(asked, 1, expires_in_s=0.0).extended():
        while not asked.bodies:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_failure_releases_it_and_is_raised() -> None:
    asked = Asked()
    with pytest.raises(KeyboardInterrupt):
        async with lease(asked, 1, 2).released_on_failure():
            raise KeyboardInterrupt
    assert asked.bodies == [{"lease": "token", "release": [("orders", 1, 2)]}]
    assert asked.said == ["released 2 events; they come again"]


async def test_failure_is_raised_also_where_the_lease_is_lost_and_not_where_it_cannot_be_told() -> (
    None
):
    lost = Asked(LeaseLost("it is lost"))
    with pytest.raises(ValueError, match="first"):
        async with lease(lost, 1).released_on_failure():
            raise ValueError("first")
    assert lost.said == []
    with pytest.raises(SubscriptionGaveUp):
        async with lease(Asked(SubscriptionGaveUp(1, 1.0, "no")), 1).released_on_failure():
            raise ValueError("first")
