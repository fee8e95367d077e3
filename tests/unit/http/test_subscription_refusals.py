"""What the routes of subscriptions refuse, and how."""

import gzip
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from support.scripted_subscriptions import (
    TOKEN,
    ServedSubscriptions,
    leased,
    serving_subscriptions,
    status,
)
from support.talking import JSON, expect_problem

from aggregator.ingest.admission import QueueFull
from aggregator.subscriptions.errors import (
    InvalidCommand,
    LeaseLost,
    NoSuchSubscription,
    SettingsDiffer,
    SubscriptionRefused,
    refusal,
)
from aggregator.wire.lease_token import render_token
from aggregator.wire.subscription_answers import SubscriptionStatus
from storage.errors import StorageUnavailable
from storage.subscriptions.outcomes import Refusal

BODIES = {
    "lease": b'{"consumer": "w"}',
    "settle": b'{"lease": "%b"}' % render_token(TOKEN).encode(),
    "seek": b'{"from": "start"}',
    "pause": b"{}",
    "resume": b"{}",
    "dead/retry": b'{"all": true}',
}


@pytest.fixture
async def routes() -> AsyncIterator[ServedSubscriptions]:
    """The routes over a scripted service."""
    async with serving_subscriptions() as served:
        yield served


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (NoSuchSubscription("none"), 404, None),
        (SettingsDiffer("they differ"), 409, "settings_differ"),
        (LeaseLost("it has run out"), 409, "lease_lost"),
        (InvalidCommand("above the head"), 422, None),
        (QueueFull("full"), 503, None),
        (StorageUnavailable("gone"), 503, None),
    ],
)
async def test_refusals_have_their_statuses(
    routes: ServedSubscriptions, error: Exception, expected: int, code: str | None
) -> None:
    service = routes.service
    names = ("put", "status", "delete", "lease", "settle", "seek", "dead_letters", "retry_dead")
    service.errors = dict.fromkeys(names, error)
    path = "/subscriptions/billing"
    responses = [
        await routes.client.put(path, json={"topics": ["a"]}),
        await routes.client.get(path),
        await routes.client.delete(path),
        await routes.client.get(f"{path}/dead"),
    ]
    for what, body in BODIES.items():
        responses.append(await routes.client.post(f"{path}/{what}", data=body, headers=JSON))
    for response in responses:
        problem = await expect_problem(response, expected)
        assert problem.get("code") == code
        assert problem["detail"].startswith(str(error))


@pytest.mark.parametrize(
    "reason", ["no_subscription", "settings_differ", "lease_lost", "invalid", "no_dead_letter"]
)
def test_every_refusal_of_storage_is_an_error(reason: str) -> None:
    error = refusal(Refusal(reason, "a sentence"))
    assert isinstance(error, SubscriptionRefused)
    assert (error.reason, str(error)) == (reason, "a sentence")


@pytest.mark.parametrize("what", BODIES)
async def test_bodies_are_json_within_bounds(routes: ServedSubscriptions, what: str) -> None:
    path = f"/subscriptions/billing/{what}"

    async def send(body: bytes, **headers: str) -> int:
        named = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        return (await routes.client.post(path, data=BytesIO(body), headers=named)).status

    routes.service.leases = [leased(token=None)] * 9
    body = BODIES[what]
    assert await send(body, Content_Type="application/json; charset=utf-8") == 200
    assert await send(gzip.compress(body), Content_Encoding="gzip") == 200
    assert await send(body, Content_Encoding="br") == 415
    assert await send(body, Content_Type="application/x-ndjson") == 415
    assert await send(body, Content_Type="text/plain") == 415
    assert await send(body, Expect="100-continue") == 200
    assert await send(body, Expect="200-ok") == 417
    assert await send(b" " * (2**20 + 1)) == 413
    assert await send(gzip.compress(b" " * (2**20 + 1)), Content_Encoding="gzip") == 413
    assert await send(b"{") == 400
    assert await send(b"[]") == 422
    assert await send(b'{"more": 1}') == 422
    response = await routes.client.post(f"{path}?wait=1", data=body, headers=JSON)
    problem = await expect_problem(response, 422)
    assert problem["detail"] == "unknown parameter 'wait'; this request takes none"


@pytest.mark.parametrize(
    "target",
    [
        "/subscriptions?limit=0",
        "/subscriptions?limit=1001",
        "/subscriptions?after=a%20b",
        "/subscriptions?name=a",
        "/subscriptions?limit=1&limit=1",
        "/subscriptions/billing?topics_after=",
        "/subscriptions/billing?limit=5",
        "/subscriptions/billing/dead?limit=1001",
        "/subscriptions/billing/dead?cursor=x",
        "/subscriptions/billing/dead?cursor=WyJvcmRlcnMiLC0xXQ",
        "/subscriptions/billing/dead?after=1",
    ],
)
async def test_parameters_that_break_a_rule_are_422(
    routes: ServedSubscriptions, target: str
) -> None:
    await expect_problem(await routes.client.get(target), 422)
    assert routes.service.calls == []


async def test_looks_take_a_turn_of_reads(routes: ServedSubscriptions) -> None:
    """One read at a time is allowed here; what changes something needs none."""
    statuses: list[int] = []

    async def look(name: str, topics_after: str) -> SubscriptionStatus:
        if len(statuses) < 2:
            statuses.append(0)
            statuses.append((await routes.client.get("/subscriptions")).status)
            statuses.append((await routes.client.post("/subscriptions/b/pause")).status)
        return status()

    routes.service.status = look  # type: ignore[method-assign]
    assert (await routes.client.get("/subscriptions/billing")).status == 200
    assert statuses == [0, 503, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/subscriptions"),
        ("GET", "/subscriptions/b/lease"),
        ("PUT", "/subscriptions/b/dead"),
    ],
)
async def test_other_methods_are_405(routes: ServedSubscriptions, method: str, path: str) -> None:
    await expect_problem(await routes.client.request(method, path), 405)
