"""Subscriptions: made, found, changed, listed, deleted."""

from typing import Any

from support.events import published
from support.http import Client
from support.subscribing import (
    MINIMAL,
    ack_all,
    counts,
    fill,
    lease,
    look,
    make,
    offsets_of,
    refused,
)
from support.talking import expect_problem, get_json, next_link, publish


async def put(client: Client, name: str = "billing", **settings: Any) -> tuple[int, Any]:
    """Status and answer of a PUT."""
    response = await client.put(f"/subscriptions/{name}", json=settings)
    return response.status, await response.json()


async def starts(client: Client, begins: object, *topics: str) -> dict[str, int]:
    """Where the topics of a subscription begin that is made, and deleted again."""
    made = await make(client, *topics, begins=begins, name="starts")
    assert (await client.delete("/subscriptions/starts")).status == 204
    return {topic: each["start"] for topic, each in made["topics"].items()}


async def test_the_same_settings_find_it_and_others_are_told(client: Client) -> None:
    await fill(client, 3)
    status, made = await put(client, topics=["orders", "b.*", "orders"])
    assert status == 201
    assert made["settings"] == {
        "topics": ["b.*", "orders"],
        "from": "now",
        "source": None,
        "order": "topic",
        "lease_ms": 30_000,
        "max_deliveries": 5,
        "backoff_ms": [0, 1000, 10_000, 60_000],
        "on_dead": "continue",
        "stop_after_dead": 100,
        "max_leased": 10_000,
    }
    assert (made["name"], made["state"], made["reason"]) == ("billing", "active", None)
    assert (made["head"], made["start"], counts(made)) == (3, 3, [0, 0, 0, 0])
    assert await look(client) == made
    await fill(client, 1)
    status, found = await put(client, topics=["orders", "b.*"], lease_ms=30_000)
    assert (status, found["head"], found["start"]) == (200, 4, 3)
    response = await client.put(
        "/subscriptions/billing", json={"topics": ["b.*", "orders"], "from": "start", "source": "s"}
    )
    problem = await expect_problem(response, 409)
    assert problem["code"] == "settings_differ"
    assert "from" in problem["detail"]
    assert "source" in problem["detail"]
    assert (await look(client))["settings"] == made["settings"]


async def test_where_one_begins(client: Client) -> None:
    await fill(client, 3)
    await fill(client, 2, "a.1")
    (first, *_) = await get_json(client, "/events", topic="orders", after=2)
    since = first["ts_ingest"]
    topics = ("orders", "a.*", "new")
    assert await starts(client, "start", *topics) == {"orders": 0, "a.1": 0}
    assert await starts(client, "now", *topics) == {"orders": 3, "a.1": 2}
    # All of a batch are stored at one time.
    assert await starts(client, {"since": since}, "orders") == {"orders": 0}
    assert await starts(client, {"since": "2h"}, *topics) == {"orders": 0, "a.1": 0}
    assert await starts(client, {"since": "9998-01-01"}, *topics) == {"orders": 3, "a.1": 2}
    offsets = {"offsets": {"orders": 2}}
    assert await starts(client, offsets, *topics) == {"orders": 2, "a.1": 0}
    for named in ({"orders": 4}, {"b": 0}, {"new": 1}):
        body = {"topics": topics, "from": {"offsets": named}}
        await expect_problem(await client.put("/subscriptions/starts", json=body), 422)
    assert await get_json(client, "/subscriptions") == []


async def test_a_topic_that_appears_later_joins_before_its_first_event(client: Client) -> None:
    await make(client, "a.*", "named", begins="now")
    assert (await look(client))["topics_total"] == 0
    await fill(client, 2, "a.1")
    await fill(client, 1, "named")
    await fill(client, 1, "b")
    seen = await look(client)
    assert (list(seen["topics"]), seen["start"], counts(seen)) == (
        ["a.1", "named"],
        0,
        [0, 0, 0, 3],
    )
    await ack_all(client, await lease(client))
    assert counts(await look(client)) == [3, 0, 0, 0]


async def test_what_the_filter_leaves_out_is_acknowledged_once_it_is_passed(client: Client) -> None:
    for source in ("a", "b", "a", "b", "b"):
        await fill(client, 1, source=source)
    await make(client, source="a")
    assert counts(await look(client)) == [0, 0, 0, 5]
    leased = await lease(client)
    assert offsets_of(leased) == [1, 3]
    await ack_all(client, leased)
    seen = await look(client)
    assert seen["acknowledged"] in (3, 5)
    assert offsets_of(await lease(client)) == []
    assert counts(await look(client)) == [5, 0, 0, 0]


async def test_a_change_of_settings(client: Client) -> None:
    await fill(client, 2)
    await fill(client, 2, "other")
    await make(client, max_leased=1)
    held = await lease(client)
    assert offsets_of(held) == [1]
    changes = {"topics": ["orders", "other"], "max_leased": 5, "stop_after_dead": None}
    response = await client.patch("/subscriptions/billing", json=changes)
    assert response.status == 200
    changed = await response.json()
    settings = changed["settings"]
    assert (await look(client))["settings"] == settings
    assert {name: settings[name] for name in changes} == changes
    # A topic that is added begins at its head; a lease that is open goes on.
    assert changed["topics"]["other"]["start"] == 2
    assert changed["leased"] == 1
    response = await client.patch("/subscriptions/billing", json={"topics": ["other"]})
    assert list((await response.json())["topics"]) == ["other"]
    problem = await refused(
        client, "settle", {"lease": held["lease"], "ack": [["orders", 1, 1]]}, 409
    )
    assert problem["code"] == "lease_lost"
    for fixed in ({"from": "now"}, {"order": "topic"}):
        await expect_problem(await client.patch("/subscriptions/billing", json=fixed), 422)
    response = await client.patch("/subscriptions/none", json={"lease_ms": 5000})
    await expect_problem(response, 404)


async def test_one_that_is_made_anew_knows_nothing_of_the_former(client: Client) -> None:
    await fill(client, 2)
    await make(client)
    held = await lease(client, 1)
    assert (await client.delete("/subscriptions/billing")).status == 204
    await expect_problem(await client.delete("/subscriptions/billing"), 404)
    await expect_problem(await client.get("/subscriptions/billing"), 404)
    await make(client)
    problem = await refused(
        client, "settle", {"lease": held["lease"], "ack": [["orders", 1, 1]]}, 409
    )
    assert problem["code"] == "lease_lost"
    assert offsets_of(await lease(client)) == [1, 2]


async def test_lists_are_by_name_in_byte_order(client: Client) -> None:
    names = ["B", "a", "b.1", "b_1"]
    for name in reversed(names):
        await make(client, name=name)
    found = await get_json(client, "/subscriptions")
    assert [each["name"] for each in found] == names
    assert set(found[0]) == {"name", "settings", "state", "reason"}
    pages = []
    target = "/subscriptions?limit=2"
    while target:
        response = await client.get(target)
        pages.append([each["name"] for each in await response.json()])
        link = next_link(response)
        target = "" if link is None else str(link)
    assert pages == [names[:2], names[2:]]


async def test_topics_are_listed_by_the_thousand(client: Client) -> None:
    names = sorted(f"t.{n}" for n in range(1001))
    await publish(client, [published(topic=name) for name in names], MINIMAL)
    await make(client, "t.*")
    response = await client.get("/subscriptions/billing")
    first = await response.json()
    link = next_link(response)
    assert link is not None
    rest = await get_json(client, str(link))
    assert [*first["topics"], *rest["topics"]] == names
    for page in (first, rest):
        assert (page["topics_total"], page["waiting"], page["head"]) == (1001, 1001, 1001)


async def test_what_is_asked_of_none_is_404(client: Client) -> None:
    await fill(client, 1)
    await make(client, name="other")
    held = await lease(client, name="other")
    bodies: dict[str, dict[str, Any]] = {
        "lease": {"consumer": "w"},
        "settle": {"lease": held["lease"], "ack": [["orders", 1, 1]]},
        "seek": {"from": "start"},
        "pause": {},
        "resume": {},
        "dead/retry": {"all": True},
    }
    for action, body in bodies.items():
        await refused(client, action, body, 404, name="none")
        await refused(client, action, body, 404, name="no%20name")
    await expect_problem(await client.get("/subscriptions/none/dead"), 404)
    assert counts(await look(client, "other")) == [0, 0, 1, 0]
