"""What each route of subscriptions asks of the service, and answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET
from support.scripted_subscriptions import (
    TOKEN,
    ServedSubscriptions,
    failed,
    leased,
    serving_subscriptions,
    status,
    subscription,
)
from support.talking import JSON, expect_problem, next_link
from yarl import URL

from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.lease_token import render_token
from storage.model import PAGE_BYTES
from storage.subscriptions.commands import Death, Retry
from storage.subscriptions.model import Beginning, SubscriptionSettings

ONE = {
    "name": "billing",
    "settings": {
        "topics": ["orders"],
        "from": "now",
        "source": None,
        "order": "topic",
        "lease_ms": 30_000,
        "max_deliveries": 5,
        "backoff_ms": [0, 1000, 10_000, 60_000],
        "on_dead": "continue",
        "stop_after_dead": 100,
        "max_leased": 10_000,
    },
    "state": "active",
    "reason": None,
}
COUNTED = {
    "head": 150,
    "start": 0,
    "acknowledged": 100,
    "dead": 0,
    "leased": 10,
    "waiting": 40,
    "expired": 0,
    "redelivered": 3,
    "lag": {"events": 50, "seconds": 1.25},
}
WHOLE = {**ONE, "topics": {"orders": COUNTED}, "topics_total": 1, **COUNTED}


@pytest.fixture
async def routes() -> AsyncIterator[ServedSubscriptions]:
    """The routes over a scripted service."""
    async with serving_subscriptions() as served:
        yield served


@pytest.mark.parametrize("made", [True, False])
async def test_put_makes_or_finds(routes: ServedSubscriptions, *, made: bool) -> None:
    routes.service.made = made
    body = {"topics": ["orders"], "from": "start"}
    response = await routes.client.put("/subscriptions/billing", json=body)
    assert response.status == (201 if made else 200)
    assert await response.json() == WHOLE
    settings = SubscriptionSettings(topics=("orders",), begins=Beginning(at="start"))
    assert routes.service.calls == [("put", "billing", settings)]
    assert routes.finished == [("/subscriptions/{name}", response.status)]


@pytest.mark.parametrize("name", ["%2E", "%2E%2E", "a%20b", "a%7Bb", "%FF", "a" * 250])
async def test_a_name_that_breaks_the_rule(routes: ServedSubscriptions, name: str) -> None:
    path = f"http://{routes.served.host}:{routes.served.port}/subscriptions/{name}"
    url = URL(path, encoded=True)
    made = await routes.client.session.put(url, json={"topics": ["orders"]})
    problem = await expect_problem(made, 422)
    assert problem["detail"].startswith("the name of a subscription must ")
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/pause")):
        url = URL(path + suffix, encoded=True)
        await expect_problem(await routes.client.session.request(method, url), 404)
    assert routes.service.calls == []


async def test_patch_changes_and_answers_it_as_it_is(routes: ServedSubscriptions) -> None:
    response = await routes.client.patch("/subscriptions/billing", json={"max_leased": 5})
    assert (response.status, await response.json()) == (200, WHOLE)
    ((_, change),) = routes.service.calls
    assert (change.name, change.max_leased, change.topics) == ("billing", 5, UNSET)


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_pause_and_resume(routes: ServedSubscriptions, action: str, body: bytes) -> None:
    paused = subscription(reason="asked for")
    routes.service.answer = status(subscription=paused, more=True)
    response = await routes.client.post(f"/subscriptions/billing/{action}", data=body, headers=JSON)
    assert response.status == 200
    answer = await response.json()
    assert (answer["state"], answer["reason"]) == ("paused", "asked for")
    assert routes.service.calls == [(action, "billing")]
    assert str(next_link(response)) == "/subscriptions/billing?topics_after=orders"


async def test_delete(routes: ServedSubscriptions) -> None:
    response = await routes.client.delete("/subscriptions/billing")
    assert (response.status, await response.read()) == (204, b"")
    assert routes.service.calls == [("delete", "billing")]


async def test_one_subscription_and_the_page_of_its_topics(routes: ServedSubscriptions) -> None:
    response = await routes.client.get("/subscriptions/billing?topics_after=a")
    assert (response.status, await response.json()) == (200, WHOLE)
    assert next_link(response) is None
    assert routes.service.asked == ("billing", "a")
    routes.service.answer = status(more=True)
    response = await routes.client.get("/subscriptions/billing")
    assert str(next_link(response)) == "/subscriptions/billing?topics_after=orders"
    head = await routes.client.head("/subscriptions/billing")
    assert head.headers["Content-Length"] == response.headers["Content-Length"]
    assert head.headers["Link"] == response.headers["Link"]


async def test_lists_are_paged(routes: ServedSubscriptions) -> None:
    routes.service.found = [subscription(name) for name in ("a", "b", "c")]
    response = await routes.client.get("/subscriptions?limit=2")
    assert [each["name"] for each in await response.json()] == ["a", "b"]
    assert str(next_link(response)) == "/subscriptions?after=b&limit=2"
    response = await routes.client.get("/subscriptions?limit=3&after=A")
    assert next_link(response) is None
    assert (await response.json())[2] == {**ONE, "name": "c"}
    assert routes.service.calls == [("listed", "", 3), ("listed", "A", 4)]
    await routes.client.get("/subscriptions")
    assert routes.service.calls[-1] == ("listed", "", 101)


async def test_a_lease(routes: ServedSubscriptions) -> None:
    deliveries = [b'{"delivery":1,"event":{}},{"delivery":1,"event":{}}', b'{"delivery":2}']
    routes.service.leases = [leased(*deliveries), leased(token=None)]
    body = {"consumer": "worker-1", "max_events": 7}
    response = await routes.client.post("/subscriptions/billing/lease", json=body)
    assert response.status == 200
    assert await response.json() == {
        "lease": render_token(TOKEN),
        "expires_at": "1970-01-01T00:00:31.000000Z",
        "expires_in_ms": 30_000,
        "deliveries": [{"delivery": 1, "event": {}}] * 2 + [{"delivery": 2}],
        "lag": {"events": 42, "seconds": 3.1},
    }
    response = await routes.client.post("/subscriptions/billing/lease", json=body)
    assert await response.json() == {
        "lease": None,
        "expires_at": None,
        "expires_in_ms": None,
        "deliveries": [],
        "lag": {"events": 42, "seconds": 3.1},
    }
    assert routes.service.calls == [("lease", "billing", LeaseRequest("worker-1", 7))] * 2


async def test_a_large_lease_goes_in_parts(routes: ServedSubscriptions) -> None:
    delivery = json.dumps({"delivery": 1, "event": "x" * 100_000}).encode()
    routes.service.leases = [leased(*[delivery] * 5)]
    response = await routes.client.post("/subscriptions/b/lease", json={"consumer": "w"})
    assert [len(each["event"]) for each in (await response.json())["deliveries"]] == [100_000] * 5


async def test_a_settle(routes: ServedSubscriptions) -> None:
    body: dict[str, Any] = {
        "lease": render_token(TOKEN),
        "ack": [["orders", 1, 1]],
        "retry": [{"topic": "orders", "offset": 2, "after_ms": 5, "error": "e"}],
        "dead": [{"topic": "orders", "offset": 3}],
        "release": [["orders", 4, 5]],
        "extend_ms": 30_000,
    }
    response = await routes.client.post("/subscriptions/billing/settle", json=body)
    assert response.status == 200
    assert await response.json() == {
        "acknowledged": 24,
        "retried": 1,
        "dead": 1,
        "released": 18,
        "expires_at": "1970-01-01T00:00:03.500000Z",
        "expires_in_ms": 2500,
    }
    ((_, name, request),) = routes.service.calls
    assert (name, request.token, request.extend_ms) == ("billing", TOKEN, 30_000)
    assert (list(request.ack), list(request.release)) == (
        [("orders", 1, 1)],
        [("orders", 4, 5)],
    )
    assert (request.retry, request.dead) == ([Retry("orders", 2, 5, "e")], [Death("orders", 3)])


async def test_a_seek(routes: ServedSubscriptions) -> None:
    body = {"from": "start", "dry_run": True}
    response = await routes.client.post("/subscriptions/billing/seek", json=body)
    assert (response.status, await response.json()) == (200, {"again": 3, "skipped": 4})
    assert routes.service.calls == [("seek", "billing", Beginning(at="start"), True)]


async def test_dead_letters_are_paged(routes: ServedSubscriptions) -> None:
    routes.service.letters = [(failed(n), b'{"offset":%d}' % n) for n in (4, 5, 6)]
    response = await routes.client.get("/subscriptions/billing/dead?limit=2")
    first, second = await response.json()
    assert first == {
        "topic": "orders",
        "offset": 4,
        "deliveries": 5,
        "first_error": "a",
        "last_error": None,
        "first_failed_at": "1970-01-01T00:00:00.000000Z",
        "dead_at": "1970-01-01T00:00:01.000000Z",
        "event": {"offset": 4},
    }
    assert second["event"] == {"offset": 5}
    link = next_link(response)
    assert link is not None
    routes.service.letters = routes.service.letters[2:]
    response = await routes.client.get(link)
    assert [each["offset"] for each in await response.json()] == [6]
    assert next_link(response) is None
    routes.service.letters = []
    assert await (await routes.client.get("/subscriptions/billing/dead")).json() == []
    assert routes.service.calls == [
        ("dead_letters", "billing", ("", 0), 3),
        ("dead_letters", "billing", ("orders", 5), 3),
        ("dead_letters", "billing", ("", 0), 101),
    ]


async def test_a_page_of_large_dead_letters_leads_to_more(routes: ServedSubscriptions) -> None:
    large = json.dumps("x" * PAGE_BYTES).encode()
    routes.service.letters = [(failed(1), large), (failed(2), b"{}")]
    response = await routes.client.get("/subscriptions/billing/dead")
    assert len(await response.json()) == 2
    assert next_link(response) is not None


async def test_retries_and_drops_of_dead_letters(routes: ServedSubscriptions) -> None:
    for body, asked in (({"all": True}, None), ({"offsets": [["a", 4, 4]]}, [("a", 4, 4)])):
        response = await routes.client.post("/subscriptions/billing/dead/retry", json=body)
        assert (response.status, await response.json()) == (200, {"retried": 1, "left": 2})
        assert routes.service.calls.pop() == ("retry_dead", "billing", asked)
    response = await routes.client.delete("/subscriptions/billing/dead/orders/17")
    assert (response.status, await response.read()) == (204, b"")
    assert routes.service.calls == [("drop_dead", "billing", "orders", 17)]


@pytest.mark.parametrize(
    "rest", ["a%20b/1", "orders/0", "orders/x", f"orders/{2**63}", "orders/-1"]
)
async def test_what_can_be_no_dead_letter_is_404(routes: ServedSubscriptions, rest: str) -> None:
    response = await routes.client.delete(f"/subscriptions/billing/dead/{rest}")
    problem = await expect_problem(response, 404)
    assert "is no dead letter of 'billing'" in problem["detail"]
    assert routes.service.calls == []
