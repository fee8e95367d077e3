"""Settles: what becomes of events, what is refused as a whole, and the same settle again."""

from typing import Any

from support.http import Client
from support.subscribing import (
    ack_all,
    counts,
    deliveries_of,
    fill,
    lease,
    look,
    make,
    offsets_of,
    refused,
    settle,
)
from support.talking import get_json
from support.tasks import StartSoon
from support.waiting import held as held_waits


def one(offset: int, **members: Any) -> dict[str, Any]:
    """An event of `orders` in a settle."""
    return {"topic": "orders", "offset": offset, **members}


async def test_every_part_of_a_settle(client: Client) -> None:
    await fill(client, 44)
    await make(client)
    leased = await lease(client)
    settled = await settle(
        client,
        leased,
        ack=[["orders", 1, 24]],
        dead=[one(25, error="never")],
        retry=[one(26, after_ms=0, error="not now")],
        release=[["orders", 27, 44]],
        extend_ms=30_000,
    )
    assert settled == {
        "acknowledged": 24,
        "retried": 1,
        "dead": 1,
        "released": 18,
        "expires_at": None,
        "expires_in_ms": None,
    }
    seen = await look(client)
    assert (counts(seen), seen["redelivered"]) == ([24, 1, 0, 19], 0)
    again = await lease(client)
    assert offsets_of(again) == list(range(26, 45))
    assert deliveries_of(again) == [2] + [1] * 18
    assert (await look(client))["redelivered"] == 1


async def test_what_is_not_named_stays_leased(client: Client) -> None:
    await fill(client, 5)
    await make(client)
    leased = await lease(client)
    settled = await settle(client, leased, ack=[["orders", 2, 3]])
    assert settled["acknowledged"] == 2
    assert settled["expires_at"] == leased["expires_at"]
    assert 0 < settled["expires_in_ms"] <= leased["expires_in_ms"]
    assert counts(await look(client)) == [2, 0, 3, 0]
    # A range may span what is settled.
    assert (await settle(client, leased, ack=[["orders", 1, 5]]))["acknowledged"] == 3
    assert counts(await look(client)) == [5, 0, 0, 0]


BROKEN: list[dict[str, Any]] = [
    {"ack": [["orders", 1, 5]]},
    {"ack": [["other", 1, 1]]},
    {"release": [["orders", 1, 5], ["whole", 1, 1]]},
    {"retry": [one(5)]},
    {"dead": [one(5)]},
    {"ack": [["orders", 1, 2], ["orders", 2, 3]]},
    {"ack": [["orders", 1, 1]], "dead": [one(1)]},
    {"retry": [one(1), one(1)]},
    {"ack": [["orders", 2, 2]], "retry": [one(1)]},
    {"dead": [one(3)], "retry": [one(1)]},
    {"ack": [["orders", 0, 1]]},
    {"lease": "nonsense"},
]


async def test_what_breaks_a_rule_is_refused_as_a_whole(client: Client) -> None:
    await fill(client, 4)
    await fill(client, 1, "whole")
    await make(client, "orders", "whole")
    leased = await lease(client)
    assert len(offsets_of(leased)) == 5
    await fill(client, 1)
    before = await look(client)
    for parts in BROKEN:
        good = {"release": [["whole", 1, 1]], "extend_ms": 60_000}
        body = {"lease": leased["lease"], **good, **parts}
        problem = await refused(client, "settle", body, 422)
        assert "code" not in problem
        assert counts(await look(client)) == counts(before), parts
    assert (await settle(client, leased))["expires_at"] == leased["expires_at"]


async def test_a_lease_that_is_over_is_lost(client: Client) -> None:
    await fill(client, 2)
    await make(client, name="other")
    await make(client)
    over = await lease(client, 1)
    await settle(client, over, release=[["orders", 1, 1]])
    held = await lease(client, 2)
    for body, name in (
        ({"lease": over["lease"], "ack": [["orders", 1, 1]]}, "billing"),
        ({"lease": over["lease"]}, "billing"),
        ({"lease": over["lease"], "extend_ms": 5000}, "billing"),
        ({"lease": held["lease"], "ack": [["orders", 1, 1]]}, "other"),
    ):
        problem = await refused(client, "settle", body, 409, name=name)
        assert problem["code"] == "lease_lost"
    await settle(client, held, ack=[["orders", 2, 2]])
    # An event that it has handed back is not its own any more.
    body = {"lease": held["lease"], "retry": [{"topic": "orders", "offset": 2}]}
    assert (await refused(client, "settle", body, 409))["code"] == "lease_lost"
    assert counts(await look(client)) == [1, 0, 1, 0]


async def test_the_same_settle_again_is_answered_alike(client: Client) -> None:
    await fill(client, 4)
    await make(client)
    leased = await lease(client, 3)
    parts: dict[str, Any] = {"ack": [["orders", 1, 1]]}
    first = await settle(client, leased, **parts)
    assert (await settle(client, leased, **parts))["acknowledged"] == first["acknowledged"] == 1
    last: dict[str, Any] = {"ack": [["orders", 2, 2]], "retry": [one(3, after_ms=0)]}
    ended = await settle(client, leased, **last)
    assert await settle(client, leased, **last) == ended
    # Another one by the same label does not take its answer away before it has ended.
    other = await lease(client)
    assert await settle(client, leased, **last) == ended
    assert (await settle(client, leased, **parts))["acknowledged"] == 1
    body = {"lease": leased["lease"], "ack": [["orders", 3, 3]]}
    assert (await refused(client, "settle", body, 409))["code"] == "lease_lost"
    await ack_all(client, other)
    assert counts(await look(client)) == [4, 0, 0, 0]
    assert (await look(client))["redelivered"] == 1


async def test_a_retry_of_an_ordered_topic_releases_what_is_behind_it(client: Client) -> None:
    await fill(client, 4)
    await make(client)
    leased = await lease(client)
    settled = await settle(client, leased, ack=[["orders", 1, 1]], retry=[one(2, after_ms=50)])
    assert [settled[name] for name in ("acknowledged", "retried", "released")] == [1, 1, 2]
    assert settled["expires_at"] is None
    again = await lease(client, wait_ms=20_000)
    assert (offsets_of(again), deliveries_of(again)) == ([2, 3, 4], [2, 1, 1])


async def test_without_an_order_a_retry_stays_alone(client: Client) -> None:
    await fill(client, 3)
    await make(client, order="none", backoff_ms=[0])
    leased = await lease(client)
    settled = await settle(client, leased, retry=[one(1)], ack=[["orders", 2, 2]])
    assert [settled[name] for name in ("acknowledged", "retried", "released")] == [1, 1, 0]
    assert counts(await look(client)) == [1, 0, 1, 1]
    assert offsets_of(await lease(client)) == [1]


async def test_what_was_acknowledged_stays_in_the_log(client: Client) -> None:
    await fill(client, 2)
    await make(client)
    await ack_all(client, await lease(client))
    assert len(await get_json(client, "/events", topic="orders", after=0)) == 2


async def test_a_lease_may_carry_a_settle(client: Client) -> None:
    await fill(client, 4)
    await make(client)
    held = await lease(client, 2)
    parts = {"lease": held["lease"], "ack": [["orders", 1, 2]]}
    following = await lease(client, 1, settle=parts)
    assert following["settled"] == {
        "acknowledged": 2,
        "retried": 0,
        "dead": 0,
        "released": 0,
        "expires_at": None,
        "expires_in_ms": None,
    }
    # The order of the topic let nothing be leased before it was settled.
    assert offsets_of(following) == [3]
    assert counts(await look(client)) == [2, 0, 1, 1]
    # Sent again, the settle is answered as it was; what is leased stays leased.
    again = await lease(client, settle=parts)
    assert (again["settled"], again["lease"]) == (following["settled"], None)
    assert "settled" not in await lease(client)


async def test_a_lease_whose_settle_is_refused_is_refused(client: Client) -> None:
    await fill(client, 4)
    await make(client, order="none")
    held = await lease(client, 1)
    for settled, status, field in (
        ({"lease": held["lease"], "ack": [["orders", 2, 2]]}, 422, None),
        ({"lease": held["lease"], "ack": [["orders", 2, 1]]}, 422, "settle.ack"),
        ({"lease": "nonsense"}, 422, "settle.lease"),
    ):
        body = {"consumer": "w", "settle": settled}
        problem = await refused(client, "lease", body, status)
        assert [error["field"] for error in problem.get("errors", [])] == [field] * bool(field)
    await settle(client, held, release=[["orders", 1, 1]])
    body = {"consumer": "w", "settle": {"lease": held["lease"], "ack": [["orders", 1, 1]]}}
    assert (await refused(client, "lease", body, 409))["code"] == "lease_lost"
    assert counts(await look(client)) == [0, 0, 0, 4]


async def test_a_settle_is_done_before_its_lease_is_waited_for(
    client: Client, start_soon: StartSoon
) -> None:
    await fill(client, 1)
    await make(client)
    held = await lease(client)
    parts = {"lease": held["lease"], "ack": [["orders", 1, 1]]}
    waiting = start_soon(lease(client, settle=parts, wait_ms=60_000))
    await held_waits(client, 1)
    assert counts(await look(client)) == [1, 0, 0, 0]
    await fill(client, 1)
    answer = await waiting
    assert (offsets_of(answer), answer["settled"]["acknowledged"]) == ([2], 1)
