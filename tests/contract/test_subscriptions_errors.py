"""Requests of subscriptions that break a rule change nothing, and are told which."""

from typing import Any
from uuid import uuid4

from support.http import Client
from support.subscribing import ack_all, counts, fill, lease, look, make, offsets_of, refused
from support.talking import JSON, expect_problem, get_json

from aggregator.wire.lease_token import render_token
from storage.subscriptions.commands import Token


async def test_settings_that_break_a_rule_make_nothing(client: Client) -> None:
    refusals: list[tuple[dict[str, Any], str]] = [
        ({}, "topics"),
        ({"topics": ["a"], "lease_ms": 999}, "lease_ms"),
        ({"topics": ["a"], "from": "end"}, "from"),
        ({"topics": ["a"], "order": "none", "on_dead": "pause"}, "on_dead"),
        ({"topics": ["a"], "ordr": "none"}, "ordr"),
    ]
    for settings, field in refusals:
        response = await client.put("/subscriptions/billing", json=settings)
        problem = await expect_problem(response, 422)
        assert [error["field"] for error in problem["errors"]] == [field]
    assert await get_json(client, "/subscriptions") == []


async def test_a_change_keeps_the_rules_of_all_settings_together(client: Client) -> None:
    await make(client, order="none")
    response = await client.patch("/subscriptions/billing", json={"on_dead": "pause"})
    problem = await expect_problem(response, 422)
    assert "on_dead" in problem["detail"]
    assert (await look(client))["settings"]["on_dead"] == "continue"


async def test_a_request_that_breaks_a_rule_names_it(client: Client) -> None:
    await fill(client, 3)
    await make(client)
    held = await lease(client, 2)
    token = held["lease"]
    for action, body, field in (
        ("lease", {"max_events": 5}, "consumer"),
        ("lease", {"consumer": "w", "wait_ms": 60_001}, "wait_ms"),
        ("settle", {"ack": []}, "lease"),
        ("settle", {"lease": token[:-1], "ack": []}, "lease"),
        ("settle", {"lease": token, "ack": [["orders", 1, 1], ["orders", 2]]}, "ack"),
        ("settle", {"lease": token, "retry": [{"topic": "orders"}]}, "retry.offset"),
        ("seek", {"from": {"since": "yesterday"}}, "from.since"),
        ("pause", {"reason": "deploy"}, "reason"),
        ("dead/retry", {"offsets": []}, "offsets"),
    ):
        problem = await refused(client, action, body, 422)
        assert [error["field"] for error in problem["errors"]] == [field], action
    for text in (b"", b"{", b"\xff"):
        path = "/subscriptions/billing/settle"
        await expect_problem(await client.post(path, data=text, headers=JSON), 400)
    assert counts(await look(client)) == [0, 0, 2, 1]
    await ack_all(client, held)


async def test_a_lease_that_is_made_up_is_refused(client: Client) -> None:
    await fill(client, 1)
    await make(client)
    await lease(client)
    for text in ("A" * 16_385, "\N{SNOWMAN}", ""):
        await refused(client, "settle", {"lease": text}, 422)
    # Its form is right, and nobody was given it.
    for ids in (("no-subscription", "no-lease"), (str(uuid4()), uuid4().hex)):
        text = render_token(Token(*ids, "w", (("orders", 1, 1),)))
        problem = await refused(client, "settle", {"lease": text, "ack": [["orders", 1, 1]]}, 409)
        assert problem["code"] == "lease_lost"
    assert counts(await look(client)) == [0, 0, 1, 0]


async def test_a_body_in_gzip_is_taken_and_other_forms_are_not(client: Client) -> None:
    await fill(client, 1)
    await make(client)
    body = b'{"consumer": "w"}'
    path = "/subscriptions/billing/lease"
    for headers in ({"Content-Type": "text/plain"}, JSON | {"Content-Encoding": "br"}):
        await expect_problem(await client.post(path, data=body, headers=headers), 415)
    assert offsets_of(await lease(client)) == [1]
