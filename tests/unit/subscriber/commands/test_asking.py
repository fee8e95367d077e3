"""The requests of commands: sent again for a limited time, and answers that nobody expects."""

from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from publisher.cli import DONE
from subscriber.commands.administration import create, dead, seek, subscriptions, switches
from subscriber.commands.administration.dead import _drop, _retry
from subscriber.commands.asking import Asking
from subscriber.errors import SubscriptionRefused

Answer = Callable[[], web.Response]
BUSY = 503
NO_HURRY_S = 30.0
SETTINGS = [
    "topics", "at", "since", "offsets", "source", "order", "lease_ms", "max_deliveries",
    "backoff_ms", "on_dead", "stop_after_dead", "max_leased",
]  # fmt: skip


def served(server: BaseTestServer, said: list[str]) -> Asking:
    """What asks a server."""
    return Asking(str(server.make_url("")), NO_HURRY_S, said.append)


@asynccontextmanager
async def asking(*script: Answer) -> AsyncIterator[tuple[Asking, list[str], list[str]]]:
    """What asks a server that gives some answers; what it was asked, and what people were told."""
    answers, asked, said = list(script), list[str](), list[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.rel_url}")
        return answers.pop(0)()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, served(server, said) as asks:
        yield asks, asked, said
    assert answers == []


def status(number: int, detail: str = "no") -> Answer:
    """An answer that is a problem."""
    return lambda: web.json_response(
        {"detail": detail}, status=number, content_type="application/problem+json"
    )


def body(text: str, **headers: str) -> Answer:
    """An answer that is well."""
    return lambda: web.Response(text=text, headers=headers, content_type="application/json")


def parsed(**arguments: object) -> Namespace:
    """A command line."""
    return Namespace(name="billing", **arguments)


async def test_busy_aggregator_is_asked_again_and_that_is_said_once() -> None:
    async with asking(status(BUSY), status(BUSY), body("{}"), body("{}")) as (asks, asked, said):
        assert (await asks.send("GET", "/billing")).body == b"{}"
        repeated = [asks.is_repeated]
        await asks.send("GET", "/billing")
        assert [*repeated, asks.is_repeated] == [True, False]
    assert asked == ["GET /subscriptions/billing"] * 4
    assert said == ["503 no; trying again for 30 s"]


async def test_next_page_is_asked_for_where_this_one_was() -> None:
    letter = '{"topic":"orders","offset":%d,"dead_at":"","last_error":null}'
    elsewhere = body(f"[{letter % 1}]", Link='<http://other.example/x?cursor=1>; rel="next"')
    async with asking(elsewhere, body(f"[{letter % 2}]")) as (asks, asked, _):
        arguments = parsed(format="text", retry_all=False, retry=None, drop=None)
        assert await dead._list(arguments, asks) == DONE
    assert asked == ["GET /subscriptions/billing/dead", "GET /subscriptions/billing/dead?cursor=1"]


async def test_what_an_attempt_without_an_answer_may_have_done_is_no_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = [("orders", 1), ("orders", 2)]
    async with asking(status(BUSY), status(404)) as (asks, _, said):
        assert await switches._delete(parsed(), asks) == DONE
    async with asking(status(BUSY), status(404), status(204)) as (asks, _, said):
        assert await _drop(parsed(drop=places), asks) == DONE
    async with asking(status(BUSY), body('{"retried":0,"left":0}')) as (asks, _, said):
        assert await _retry(parsed(retry=places), asks) == DONE
    assert said[1:] == ["2 of the 2 events are no dead letter"]
    sought = body('{"again":0,"skipped":0}')
    async with asking(status(BUSY), sought) as (asks, _, said):
        arguments = parsed(at="start", since=None, offsets=None, dry_run=False)
        assert await seek._seek(arguments, asks) == DONE
    assert len(said) == 2
    assert "an attempt before that was not answered" in said[1]
    assert capsys.readouterr().out.splitlines() == [
        "there is no subscription 'billing' any more",
        "1 dead letter is acknowledged",
        "0 dead letters will be delivered again",
        "0 events will come again, 0 are skipped",
    ]


async def test_retry_of_all_goes_on_until_none_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    first = body('{"retried":10000,"left":2}')
    async with asking(first, body('{"retried":2,"left":0}')) as (asks, asked, _):
        assert await dead._retry_all(parsed(), asks) == DONE
    assert len(asked) == 2
    assert capsys.readouterr().out == "10,002 dead letters will be delivered again\n"


async def test_subscription_that_is_gone_meanwhile_is_left_out_of_the_list(
    capfd: pytest.CaptureFixture[str],
) -> None:
    listed = body('[{"name":"a"},{"name":"b"}]')
    counts = '{"name":"b","note":"\\u001b"}'

    async with asking(listed, status(404), body(counts)) as (asks, _, said):
        arguments = Namespace(name=None, format="json")
        assert await subscriptions._show(arguments, asks) == DONE
    async with asking(body("[]")) as (asks, _, said):
        assert await subscriptions._show(Namespace(name=None, format="text"), asks) == DONE
    assert said == ["there are no subscriptions"]
    assert capfd.readouterr().out == f"{counts}\n"


@pytest.mark.parametrize("answer", ["<html>", "{}", "[1]", '["a"', "null", "[" * 100_000, "\xff"])
async def test_answer_of_something_else_is_refused_in_one_sentence(answer: str) -> None:
    lists = parsed(format="json")
    shows = Namespace(name="billing", format="text")
    seeks = parsed(at="start", since=None, offsets=None, dry_run=False)
    for work, arguments in ((dead._list, lists), (subscriptions._show, shows), (seek._seek, seeks)):
        async with asking(body(answer)) as (asks, _, _):
            with pytest.raises(SubscriptionRefused, match="not the answer of an aggregator: "):
                await work(arguments, asks)


async def test_create_that_fails_for_another_reason_than_404_makes_nothing() -> None:
    async with asking(status(403)) as (asks, asked, _):
        with pytest.raises(SubscriptionRefused, match="403"):
            await create._create(parsed(**dict.fromkeys(SETTINGS)), asks)
    assert asked == ["GET /subscriptions/billing"]
