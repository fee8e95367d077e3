"""Errors over HTTP: their statuses, their one form, and the limits as settings."""

import json
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.sockets import get
from support.stores import ControlledStore
from support.talking import JSON, NDJSON, expect_problem, publish, read_all, send, text_of

from storage.model import Stats


@pytest.mark.parametrize("path", ["/", "/nothing", "/events/orders", "/events/a/b/c", "/publish/"])
async def test_an_unknown_path_is_404(client: Client, path: str) -> None:
    await expect_problem(await client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/publish", {"POST"}),
        ("DELETE", "/publish", {"POST"}),
        ("POST", "/events", {"GET", "HEAD"}),
        ("PUT", "/events/orders/e-1", {"GET", "HEAD"}),
        ("POST", "/stats", {"GET", "HEAD"}),
        ("PATCH", "/health", {"GET", "HEAD"}),
        ("OPTIONS", "/ready", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_405_and_names_the_allowed_ones(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    response = await client.request(method, path)
    await expect_problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


async def test_malformed_http_is_400(client: Client) -> None:
    answer = await get(client, "/a b c")
    assert answer.status == 400


async def test_unexpected_exception_is_500_without_details(
    make_client: MakeClient, database: Database
) -> None:
    class Defective(ControlledStore):
        async def stats(self, **_asked: Any) -> Stats:
            raise RuntimeError("internal details")

    client = await make_client(Defective(database.store()))
    problem = await expect_problem(await client.get("/stats"), 500)
    assert "internal details" not in str(problem)
    await publish(client, published())


async def test_errors_are_bounded_to_a_hundred(client: Client) -> None:
    events = [published(), *(published(topic="a b") for _ in range(150))]
    problem = await expect_problem(await client.post("/publish", json=events), 422)
    assert [e["index"] for e in problem["errors"]] == list(range(1, 101))
    assert "150 of 151" in problem["detail"]
    problem = await expect_problem(await client.post("/publish", json=[{}] * 100), 422)
    assert len(problem["errors"]) == 100


async def test_an_error_names_its_index_field_and_rule(client: Client) -> None:
    events = [published(), published(), published(), published(timestamp="yesterday")]
    problem = await expect_problem(await client.post("/publish", json=events), 422)
    (error,) = problem["errors"]
    assert (error["index"], error["field"]) == (3, "timestamp")
    assert "yesterday" in error["message"]
    assert "RFC 3339" in error["message"]


async def test_an_index_counts_ndjson_events_and_not_blank_lines(client: Client) -> None:
    body = b"\n" + text_of() + b"\n\n" + text_of(topic='""')
    problem = await expect_problem(await send(client, body, NDJSON), 422)
    assert [e["index"] for e in problem["errors"]] == [1]


async def test_long_value_is_truncated_in_the_error(client: Client) -> None:
    response = await client.post("/publish", json=published(topic="x" * 100_000))
    problem = await expect_problem(response, 422)
    assert len(json.dumps(problem)) < 1000
    name = "y" * 100_000
    problem = await expect_problem(await client.post("/publish", json={name: 1}), 422)
    assert len(json.dumps(problem)) < 2000


async def test_the_body_limit_is_a_setting_and_exact(make_client: MakeClient) -> None:
    body = json.dumps(published()).encode()
    client = await make_client(max_body_bytes=len(body))
    await publish(client, body)
    await expect_problem(await send(client, body + b" "), 413)

    async def pieces(size: int) -> object:
        for _ in range(size // 10):
            yield b" " * 10

    response = await client.post("/publish", data=pieces(10 * len(body)), headers=JSON)
    await expect_problem(response, 413)


async def test_the_event_limit_is_a_setting_and_exact(make_client: MakeClient) -> None:
    client = await make_client(max_batch_events=3)
    await publish(client, [published() for _ in range(3)])
    four = [published() for _ in range(4)]
    await expect_problem(await client.post("/publish", json=four), 413)
    await expect_problem(await client.post("/publish", json=[1, 2, 3, 4]), 413)
    lines = b"\n".join(json.dumps(event).encode() for event in four)
    await expect_problem(await send(client, lines, NDJSON), 413)
    assert len(await read_all(client)) == 3


async def test_the_payload_limit_is_a_setting_and_exact(make_client: MakeClient) -> None:
    client = await make_client(max_payload_bytes=20)
    exact = '{"text":"éé12345"}'
    assert len(exact.encode()) == 20
    await publish(client, text_of(payload=exact))
    # As sent: white space counts, and an escape counts with all of its characters.
    for payload in ('{"text":"éé123456"}', '{"text": "éé12345"}', '{"text":"12\\ud80056"}'):
        assert len(payload.encode()) == 21
        await expect_problem(await send(client, text_of(payload=payload)), 413)
    await publish(client, text_of(event_id='"e-2"', payload='{"text":"1\\ud80056"}'))


async def test_oversized_payload_is_413_before_other_rules(make_client: MakeClient) -> None:
    client = await make_client(max_payload_bytes=1000)
    deep = '{"a":' + "[" * 5000 + "]" * 5000 + "}"
    for text in (text_of(payload=deep), text_of(topic='""', payload=f'"{"x" * 1000}"')):
        await expect_problem(await send(client, b"[" + text_of() + b"," + text + b"]"), 413)


async def test_the_default_limits_are_those_of_the_contract(client: Client) -> None:
    mebibyte = 2**20
    fits = '{"text":"' + "x" * (mebibyte - 11) + '"}'
    assert len(fits) == mebibyte
    await publish(client, text_of(payload=fits))
    await expect_problem(await send(client, text_of(payload=fits.replace("x", "xx", 1))), 413)
    assert (await publish(client, [published() for _ in range(10_000)]))["received"] == 10_000
    await expect_problem(await send(client, b"[" + b"1," * 10_000 + b"1]"), 413)
    await expect_problem(await send(client, b" " * (16 * mebibyte) + text_of()), 413)
    assert (await publish(client, text_of(event_id='"e"').ljust(16 * mebibyte)))["received"] == 1
