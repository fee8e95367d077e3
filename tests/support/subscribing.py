"""Subscriptions in the contract's words: make, lease, settle; the second law at every look."""

from collections.abc import Iterable, Mapping
from typing import Any

from support.events import published
from support.http import Client
from support.talking import expect_problem, publish

MINIMAL = {"Prefer": "return=minimal"}
SUMS = ("head", "start", "acknowledged", "dead", "leased", "waiting", "expired", "redelivered")


async def fill(client: Client, count: int, *topics: str, **changes: Any) -> None:
    """Publish so many events to each of some topics, to `orders` if none are given."""
    named = topics or ("orders",)
    events = [published(topic=topic, **changes) for topic in named for _ in range(count)]
    await publish(client, events, MINIMAL)


async def make(
    client: Client, *topics: str, name: str = "billing", begins: object = "start", **settings: Any
) -> dict[str, Any]:
    """Make a subscription, of `orders` if no topics are given, from the start."""
    body = {"topics": topics or ["orders"], "from": begins, **settings}
    response = await client.put(f"/subscriptions/{name}", json=body)
    assert response.status == 201, await response.text()
    made: dict[str, Any] = await response.json()
    check_law(made)
    return made


async def send(client: Client, action: str, body: object = None, name: str = "billing") -> Any:
    """POST to a subscription what is answered 200."""
    response = await client.post(f"/subscriptions/{name}/{action}", json=body or {})
    assert response.status == 200, await response.text()
    return await response.json()


async def refused(
    client: Client, action: str, body: object, status: int, name: str = "billing"
) -> dict[str, Any]:
    """POST to a subscription what is refused."""
    response = await client.post(f"/subscriptions/{name}/{action}", json=body)
    return await expect_problem(response, status)


async def lease(
    client: Client, max_events: int = 100, *, name: str = "billing", **members: Any
) -> dict[str, Any]:
    """Lease events, as `w` if no consumer is named."""
    body = {"consumer": "w", "max_events": max_events, **members}
    answer: dict[str, Any] = await send(client, "lease", body, name)
    assert (answer["lease"] is None) == (not answer["deliveries"])
    return answer


async def settle(
    client: Client, lease: Mapping[str, Any], *, name: str = "billing", **parts: Any
) -> dict[str, Any]:
    """Settle events of a lease."""
    answer: dict[str, Any] = await send(client, "settle", {"lease": lease["lease"], **parts}, name)
    return answer


async def ack_all(client: Client, lease: Mapping[str, Any], *, name: str = "billing") -> None:
    """Acknowledge all events of a lease."""
    ack = [[topic, offset, offset] for topic, offset in events_of(lease)]
    settled = await settle(client, lease, ack=ack, name=name)
    assert (settled["acknowledged"], settled["expires_at"]) == (len(ack), None)


def events_of(lease: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Topics and offsets of the events of a lease, in their order."""
    events = [each["event"] for each in lease["deliveries"]]
    return [(event["topic"], event["offset"]) for event in events]


def offsets_of(lease: Mapping[str, Any]) -> list[int]:
    """Offsets of the events of a lease, in their order."""
    return [offset for _, offset in events_of(lease)]


def deliveries_of(lease: Mapping[str, Any]) -> list[int]:
    """How often the events of a lease were handed out, in their order."""
    return [each["delivery"] for each in lease["deliveries"]]


async def look(client: Client, name: str = "billing") -> dict[str, Any]:
    """GET a subscription, with the law checked."""
    response = await client.get(f"/subscriptions/{name}")
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    check_law(found)
    return found


def counts(subscription: Mapping[str, Any], topic: str | None = None) -> list[int]:
    """Acknowledged, dead, leased and waiting, of all topics or of one."""
    counted = subscription if topic is None else subscription["topics"][topic]
    return [counted[name] for name in ("acknowledged", "dead", "leased", "waiting")]


def check_law(subscription: Mapping[str, Any]) -> None:
    """Check the second law of conservation, of each topic and in all."""
    every: Iterable[Mapping[str, Any]] = subscription["topics"].values()
    for counted in (subscription, *every):
        settled = counted["acknowledged"] + counted["dead"]
        left = counted["leased"] + counted["waiting"]
        assert counted["head"] - counted["start"] == settled + left
        assert counted["lag"]["events"] == left
        assert counted["lag"]["seconds"] >= 0
        assert left or counted["lag"]["seconds"] == 0
    if subscription["topics_total"] == len(subscription["topics"]):
        for name in SUMS:
            assert subscription[name] == sum(counted[name] for counted in every)
