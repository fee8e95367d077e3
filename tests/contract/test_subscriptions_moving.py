"""Moving a subscription, pausing it, and looking, which does nothing."""

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
    send,
    settle,
)
from support.talking import get_json


async def seek(client: Client, begins: object, *, dry_run: bool = False) -> tuple[int, int]:
    """Move, and give `again` and `skipped` back."""
    answer: dict[str, int] = await send(client, "seek", {"from": begins, "dry_run": dry_run})
    assert set(answer) == {"again", "skipped"}
    return answer["again"], answer["skipped"]


async def test_a_subscription_is_moved_back_and_forth(client: Client) -> None:
    await fill(client, 10)
    await make(client)
    leased = await lease(client, 4)
    await settle(client, leased, ack=[["orders", 1, 2]], dead=[{"topic": "orders", "offset": 3}])
    before = await look(client)
    assert counts(before) == [2, 1, 1, 6]
    for begins, expected in (
        ("start", (3, 0)),
        ("now", (0, 7)),
        ({"offsets": {"orders": 5}}, (0, 2)),
        ({"since": "1h"}, (3, 0)),
    ):
        assert await seek(client, begins, dry_run=True) == expected
    assert counts(await look(client)) == counts(before)

    assert await seek(client, {"offsets": {"orders": 5}}) == (0, 2)
    seen = await look(client)
    assert (seen["start"], counts(seen), seen["redelivered"]) == (5, [0, 0, 0, 5], 0)
    problem = await refused(
        client, "settle", {"lease": leased["lease"], "ack": [["orders", 4, 4]]}, 409
    )
    assert problem["code"] == "lease_lost"
    assert await get_json(client, "/subscriptions/billing/dead") == []
    assert offsets_of(await lease(client, 1)) == [6]

    assert await seek(client, "start") == (5, 0)
    again = await lease(client)
    assert (offsets_of(again), set(deliveries_of(again))) == (list(range(1, 11)), {1})
    await ack_all(client, again)
    assert await seek(client, "now") == (0, 0)
    assert (await look(client))["start"] == 10


async def test_topics_that_are_not_named_stay(client: Client) -> None:
    await fill(client, 3, "orders", "other")
    await make(client, "orders", "other")
    leased = await lease(client)
    assert len(offsets_of(leased)) == 6
    assert await seek(client, {"offsets": {"orders": 1}}) == (0, 1)
    seen = await look(client)
    assert (counts(seen, "orders"), counts(seen, "other")) == ([0, 0, 0, 2], [0, 0, 3, 0])
    assert (await settle(client, leased, ack=[["other", 1, 3]]))["acknowledged"] == 3


async def test_a_move_to_nowhere_is_refused(client: Client) -> None:
    await fill(client, 3)
    await make(client)
    held = await lease(client, 1)
    nowhere: list[object] = [
        {"offsets": {"orders": 4}},
        {"offsets": {"none": 0}},
        {"since": "x"},
        "end",
    ]
    for begins in nowhere:
        await refused(client, "seek", {"from": begins}, 422)
    assert counts(await look(client)) == [0, 0, 1, 2]
    await ack_all(client, held)


async def test_a_pause_stops_leases_and_nothing_else(client: Client) -> None:
    await fill(client, 3)
    await make(client)
    held = await lease(client, 2)
    paused = await send(client, "pause")
    assert (paused["state"], counts(paused)) == ("paused", [0, 0, 2, 1])
    assert paused["reason"]
    assert (await send(client, "pause"))["reason"] == paused["reason"]
    assert (await lease(client))["lease"] is None
    assert (await settle(client, held, extend_ms=60_000))["expires_in_ms"] > 50_000
    await settle(client, held, ack=[["orders", 1, 1]], retry=[{"topic": "orders", "offset": 2}])
    listed = await get_json(client, "/subscriptions")
    assert [(each["state"], each["reason"]) for each in listed] == [("paused", paused["reason"])]
    resumed = await send(client, "resume")
    assert (resumed["state"], resumed["reason"]) == ("active", None)
    assert offsets_of(await lease(client)) == [2, 3]


async def test_looking_changes_nothing(client: Client) -> None:
    await fill(client, 3)
    await make(client)
    held = await lease(client, 2)

    def without_time(found: dict[str, Any]) -> list[Any]:
        return [counts(found), found["redelivered"], found["start"], found["lag"]["events"]]

    before = without_time(await look(client))
    for path in ("", "/billing", "/billing/dead"):
        assert (await client.head(f"/subscriptions{path}")).status == 200
        await get_json(client, f"/subscriptions{path}")
    assert without_time(await look(client)) == before
    assert (await settle(client, held))["expires_at"] == held["expires_at"]
