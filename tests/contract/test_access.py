"""Who may do what: every route, every kind of credential, every right, on both ways of a publish.

The table is made of the routes that the application has.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from support.access import TokensFile, bearer
from support.http import Client, MakeClient

from aggregator.http.rights import NEEDS

# The way that a publish comes has nothing to do with the database.
pytestmark = pytest.mark.at_length("postgres-off")

FREE = {("GET", "/health"), ("GET", "/ready")}
RIGHTS: dict[str, dict[str, object]] = {
    "nothing": {},
    "publishes": {"publish": ["orders"]},
    "reads": {"read": ["orders"]},
    "reads-all": {"read": ["**"]},
    "consumes": {"subscribe": ["billing"], "read": ["orders"]},
    "measures": {"metrics": True},
    "admin": {"admin": True},
}


def may(right: str, method: str, path: str) -> bool:
    """Say from the page whether a right allows a route at all, written without the code."""
    if right == "admin":
        return True
    if path == "/publish":
        return right == "publishes"
    if path.startswith("/events"):
        return right in {"reads", "reads-all", "consumes"}
    if path == "/stats":
        return right in {"reads", "reads-all", "consumes", "measures"}
    if path == "/metrics":
        return right == "measures"
    return path.startswith("/subscriptions") and right == "consumes"


@dataclass
class Guarded:
    """An aggregator with a tokens file."""

    client: Client
    tokens: TokensFile
    shown: dict[str, str]

    async def ask(self, method: str, path: str, token: str, body: object = None) -> int:
        async with self.client.request(method, path, headers=bearer(token), json=body) as answer:
            await answer.read()
            return answer.status


@pytest.fixture
async def guarded(make_client: MakeClient, tmp_path: Path) -> Guarded:
    tokens = TokensFile(tmp_path / "tokens.toml")
    shown = {name: tokens.give(name, **fields) for name, fields in RIGHTS.items()}
    client = await make_client(tokens=tokens.path)
    return Guarded(client, tokens, shown)


def event(topic: str, event_id: str) -> dict[str, object]:
    return {
        "topic": topic,
        "event_id": event_id,
        "timestamp": "2026-03-01T12:00:00Z",
        "source": "shop",
        "payload": {"n": 1},
    }


@pytest.fixture(params=["auto", "off"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways that a publish can come."""
    way: str = request.param
    return way


def filled(path: str) -> str:
    values = {"topic": "orders", "event_id": "e-1", "name": "billing", "offset": "1"}
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path + ("?topic=orders" if path == "/events" else "")


async def test_every_route_needs_its_right_and_no_other(guarded: Guarded) -> None:
    for method, route in NEEDS:
        path = filled(route)
        for right in RIGHTS:
            status = await guarded.ask(method, path, guarded.shown[right])
            if (method, route) in FREE or may(right, method, route):
                assert status not in {401, 403}, (method, route, right, status)
            else:
                assert status == 403, (method, route, right, status)


async def test_without_a_credential_that_is_in_force_every_route_but_two_is_401(
    guarded: Guarded,
) -> None:
    token = guarded.shown["admin"]
    wrong: dict[str, list[tuple[str, str]]] = {
        "none": [],
        "unknown": [*bearer(TokensFile(guarded.tokens.path.with_name("other")).give("x")).items()],
        "mistyped": [*bearer(token[:-1] + ("A" if token[-1] != "A" else "B")).items()],
        "another scheme": [("Authorization", "Basic YTpi")],
        "no token": [("Authorization", "Bearer")],
        "two": [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
        "in the address": [],
    }
    routes = [*NEEDS, ("GET", "/nowhere"), ("POST", "/events"), ("OPTIONS", "/publish")]
    for method, route in routes:
        for what, headers in wrong.items():
            path = filled(route)
            if what == "in the address":
                path += ("&" if "?" in path else "?") + f"access_token={token}"
            async with guarded.client.request(method, path, headers=headers) as answer:
                text = await answer.text()
                told = method, route, what, answer.status, text
                if (method, route) in FREE:
                    assert answer.status == 200, told
                    continue
                assert answer.status == 401, told
                assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="aggregator"')
                assert answer.content_type == "application/problem+json"
                assert token not in text


async def test_paths_that_lead_nowhere_are_told_to_those_who_are_known(guarded: Guarded) -> None:
    token = guarded.shown["nothing"]
    assert await guarded.ask("GET", "/nowhere", token) == 404
    assert await guarded.ask("POST", "/events", token) == 405


async def test_the_scheme_is_known_in_any_case(guarded: Guarded) -> None:
    headers = {"Authorization": f"bEARER {guarded.shown['admin']}"}
    assert (await guarded.client.get("/stats", headers=headers)).status == 200


async def test_an_event_of_another_topic_is_403_and_nothing_of_the_request_is_stored(
    guarded: Guarded,
) -> None:
    sent = [event("orders", "1"), event("payments", "2")]
    headers = bearer(guarded.shown["publishes"])
    async with guarded.client.post("/publish", json=sent, headers=headers) as answer:
        problem = await answer.json()
        assert answer.status == 403
    (error,) = problem["errors"]
    assert (error["index"], error["field"]) == (1, "topic")
    async with guarded.client.get("/stats", headers=bearer(guarded.shown["admin"])) as answer:
        assert (await answer.json())["received"] == 0
    broken = [*sent, {"topic": "orders"}]
    async with guarded.client.post("/publish", json=broken, headers=headers) as answer:
        assert answer.status == 422  # what is invalid is told first


async def test_leniently_an_event_of_another_topic_is_rejected(guarded: Guarded) -> None:
    sent = [event("payments", "1"), event("orders", "2"), {"topic": "orders"}, event("x", "3")]
    headers = bearer(guarded.shown["publishes"]) | {"Prefer": "handling=lenient"}
    async with guarded.client.post("/publish", json=sent, headers=headers) as answer:
        told = await answer.json()
        assert answer.status == 200
    assert (told["received"], told["unique_processed"], told["rejected"]) == (1, 1, 3)
    statuses = [(each["status"], each.get("index")) for each in told["results"]]
    assert statuses == [("rejected", 0), ("stored", None), ("rejected", 2), ("rejected", 3)]
    headers = bearer(guarded.shown["reads"]) | {"Prefer": "handling=lenient"}
    async with guarded.client.post("/publish", json=sent, headers=headers) as answer:
        assert answer.status == 403


async def test_who_has_a_source_publishes_as_that_alone_and_learns_nothing_of_others(
    make_client: MakeClient, tmp_path: Path
) -> None:
    tokens = TokensFile(tmp_path / "tokens.toml")
    shop = bearer(tokens.give("shop", publish=["orders"], source="shop"))
    other = bearer(tokens.give("other", publish=["orders"]))
    client = await make_client(tokens=tokens.path)
    for number in range(3):
        sent = event("orders", str(number)) | {"source": "other"}
        assert (await client.post("/publish", json=sent, headers=other)).status == 200
    async with client.post("/publish", json=sent, headers=shop) as answer:
        (error,) = (await answer.json())["errors"]
        assert (answer.status, error["field"]) == (403, "source")
    async with client.post("/publish", json=sent | {"source": "shop"}, headers=shop) as answer:
        (result,) = (await answer.json())["results"]
        assert (result["status"], "offset" in result) == ("conflict", False)
    async with client.post("/publish", json=sent | {"payload": {}}, headers=other) as answer:
        (result,) = (await answer.json())["results"]
        assert (result["status"], result["offset"]) == ("conflict", 3)


async def test_what_is_named_is_403_whether_it_exists_or_not(guarded: Guarded) -> None:
    admin = bearer(guarded.shown["admin"])
    await guarded.client.post("/publish", json=event("payments", "e-1"), headers=admin)
    settings = {"topics": ["orders"], "begins": {"at": "start"}}
    async with guarded.client.put("/subscriptions/secret", json=settings, headers=admin) as answer:
        assert answer.status in {201, 422}, await answer.text()
    for kind in ("reads", "consumes"):
        token = guarded.shown[kind]
        for topic in ("payments", "no.such.topic"):
            for path in (
                f"/events?topic={topic}",
                f"/events?topic={topic}&after=0",
                f"/events/{topic}/e-1",
                f"/stats?topic={topic}",
            ):
                assert await guarded.ask("GET", path, token) == 403, path
    for name in ("secret", "no-such"):
        for method, route in NEEDS:
            if "{name}" in route:
                path = filled(route.replace("{name}", name))
                assert await guarded.ask(method, path, guarded.shown["consumes"]) == 403, path


async def test_pages_over_all_topics_need_the_right_to_all(guarded: Guarded) -> None:
    assert await guarded.ask("GET", "/events", guarded.shown["reads"]) == 403
    assert await guarded.ask("GET", "/events", guarded.shown["reads-all"]) == 200
    assert await guarded.ask("GET", "/events", guarded.shown["admin"]) == 200


async def test_stats_are_of_the_topics_that_may_be_read(guarded: Guarded) -> None:
    admin = bearer(guarded.shown["admin"])
    sent = [event("orders", "1"), event("payments", "1"), event("payments", "2")]
    await guarded.client.post("/publish", json=sent, headers=admin)
    await guarded.client.post("/publish", json=sent, headers=admin)
    async with guarded.client.get("/stats", headers=bearer(guarded.shown["reads"])) as answer:
        told = await answer.json()
    assert list(told["topics"]) == ["orders"]
    assert (told["received"], told["unique_processed"], told["duplicate_dropped"]) == (2, 1, 1)
    assert told["topics_total"] == 1
    for right in ("reads-all", "measures", "admin"):
        async with guarded.client.get("/stats", headers=bearer(guarded.shown[right])) as answer:
            assert (await answer.json())["received"] == 6


async def test_subscriptions_must_be_of_topics_that_may_be_read(guarded: Guarded) -> None:
    token = guarded.shown["consumes"]
    for topics in (["payments"], ["orders", "payments"], ["*"], ["orders.*"]):
        settings = {"topics": topics}
        assert await guarded.ask("PUT", "/subscriptions/billing", token, settings) == 403
    settings = {"topics": ["orders"]}
    assert await guarded.ask("PUT", "/subscriptions/billing", token, settings) == 201
    assert await guarded.ask("PATCH", "/subscriptions/billing", token, {"topics": ["*"]}) == 403
    admin = guarded.shown["admin"]
    assert await guarded.ask("PATCH", "/subscriptions/billing", admin, {"topics": ["*"]}) == 200
    lease = {"consumer": "c"}
    for path in ("/subscriptions/billing/lease", "/subscriptions/billing/dead"):
        method = "GET" if path.endswith("dead") else "POST"
        body = None if method == "GET" else lease
        assert await guarded.ask(method, path, token, body) == 403
        assert await guarded.ask(method, path, admin, body) == 200
    # Its place stays, and nothing is skipped.
    assert await guarded.ask("GET", "/subscriptions/billing", token) == 200


async def test_lists_have_the_subscriptions_that_may_be_used(guarded: Guarded) -> None:
    admin = guarded.shown["admin"]
    for name in ("a", "billing", "c"):
        path = f"/subscriptions/{name}"
        assert await guarded.ask("PUT", path, admin, {"topics": ["orders"]}) == 201
    path = "/subscriptions?limit=1"
    async with guarded.client.get(path, headers=bearer(guarded.shown["consumes"])) as answer:
        told = await answer.json()
        assert [each["name"] for each in told] == ["billing"]
        assert "Link" not in answer.headers
