"""Reading, from a server that restarts, pages, leads in circles, or is no aggregator."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.sockets import port_of, reserved_port

from publisher.load.read_back import Counts, Reader, ReadFailed

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATS: dict[str, Any] = {
    "received": 3,
    "unique_processed": 2,
    "duplicate_dropped": 1,
    "conflicts": 1,
    "topics": {
        "auth": {
            "received": 3,
            "unique_processed": 2,
            "duplicate_dropped": 1,
            "conflicts": 1,
            "head_offset": 2,
        }
    },
    "uptime": 1.5,
    "uptime_seconds": 1.5,
    "backend": "sqlite",
}


def event(offset: int) -> dict[str, object]:
    return {
        "topic": "auth",
        "event_id": f"e-{offset}",
        "timestamp": "2026-01-31T12:00:00.000000Z",
        "source": "node",
        "payload": {"a": 1},
        "offset": offset,
        "ts_ingest": "2026-01-31T12:00:00.000000Z",
    }


def says(
    body: object, status: int = 200, content_type: str = "application/json", **headers: str
) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return web.Response(
            body=text.encode() if isinstance(text, str) else text,
            status=status,
            content_type=content_type,
            headers=headers,
        )

    return answer


async def cuts(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cuts_the_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "500"})
    await response.prepare(request)
    await response.write(b'{"received": 2,')
    assert request.transport is not None
    request.transport.close()
    return response


class Server:
    """Gives its answers one after another, the last one for ever."""

    def __init__(self, script: Sequence[Answer]) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.authorizations.append(request.headers.get("Authorization"))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await answer(request)


@asynccontextmanager
async def reading(
    *script: Answer, patience_s: float = 60.0, path: str = "", user: str | None = None
) -> AsyncIterator[tuple[Reader, Server]]:
    served = Server(script)
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    server = TestServer(app)
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        url = server.make_url(path).with_user(user).with_password(user)
        yield Reader(session, str(url), patience_s), served
    await server.close()


async def test_stats_are_read_with_the_counts_of_each_topic() -> None:
    async with reading(says(STATS)) as (reader, server):
        stats = await reader.stats()
    assert (stats.received, stats.backend) == (3, "sqlite")
    assert stats.of("auth") == Counts(3, 2, 1, 1, 2)
    assert stats.of("orders") == Counts(0, 0, 0, 0, 0)
    assert server.asked == ["/stats"]


async def test_transient_failure_is_retried() -> None:
    script = [cuts, cuts_the_answer, says({}, 503), says({}, 502), says({}, 504)]
    script += [says({}, 429), says(STATS)]
    async with reading(*script) as (reader, server):
        assert (await reader.stats()).received == 3
    assert len(server.asked) == 7


async def test_reader_with_deadline_zero_reads_once() -> None:
    async with reading(says({"detail": "starting"}, 503), patience_s=0.0) as (reader, server):
        with pytest.raises(ReadFailed, match=r"/stats is answered 503: starting$"):
            await reader.stats()
    assert len(server.asked) == 1


async def test_refused_connection_is_one_sentence() -> None:
    with reserved_port() as reserved:
        url = f"http://somebody:secret@127.0.0.1:{port_of(reserved)}"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ReadFailed) as failed:
                await Reader(session, url, 0.2).stats()
    shown = url.replace("somebody:secret@", "")
    assert str(failed.value) == f"cannot connect to {shown}: Connection refused"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (says({"detail": "no such page"}, 404), "/stats is answered 404: no such page"),
        (
            says("", 302, Location="/elsewhere"),
            "/stats is answered 302: Found, moved to /elsewhere",
        ),
        (says("<html>"), "/stats is not answered by an aggregator"),
        (says({"received": 1}), "/stats is not answered by an aggregator"),
        (says(b'{"backend": "\xff"}'), "/stats is not answered by an aggregator"),
        (says('{"x":' + "[" * 100_000), "/stats is not answered by an aggregator"),
    ],
)
async def test_foreign_response_is_not_retried(answer: Answer, sentence: str) -> None:
    async with reading(answer) as (reader, server):
        with pytest.raises(ReadFailed) as failed:
            await reader.stats()
    assert sentence in str(failed.value)
    assert len(server.asked) == 1


async def test_pages_are_followed_through_their_links_to_the_end() -> None:
    script = [
        says([event(8), event(9)], Link='<?topic=auth&cursor=a%2Bb%7E>; rel="next"'),
        says({}, 503),
        says([], Link='<?topic=auth&cursor=c>; rel="next"'),
        says([event(10)]),
    ]
    async with reading(*script) as (reader, server):
        pages = [page async for page in reader.pages("auth", 7)]
    assert [[stored.offset for stored in page] for page in pages] == [[8, 9], [], [10]]
    assert bytes(pages[0][0].payload) == b'{"a": 1}'
    assert server.asked == [
        "/events?topic=auth&after=7&limit=5000",
        "/events?topic=auth&cursor=a%2Bb%7E",
        "/events?topic=auth&cursor=a%2Bb%7E",
        "/events?topic=auth&cursor=c",
    ]


async def test_the_next_page_is_behind_the_same_path_and_password() -> None:
    script = [says([event(1)], Link='<?topic=auth&cursor=a>; rel="next"'), says([event(2)])]
    async with reading(*script, path="/log", user="u") as (reader, server):
        assert len([page async for page in reader.pages("auth", 0)]) == 2
    assert server.asked == [
        "/log/events?topic=auth&after=0&limit=5000",
        "/log/events?topic=auth&cursor=a",
    ]
    assert server.authorizations == ["Basic dTp1"] * 2


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1/x", "//other.example/x", "x:y"])
async def test_a_link_that_leads_elsewhere_is_not_followed(elsewhere: str) -> None:
    async with reading(says([event(1)], Link=f'<{elsewhere}>; rel="next"')) as (reader, server):
        with pytest.raises(ReadFailed) as failed:
            assert [page async for page in reader.pages("auth", 0)]
    assert str(failed.value).endswith(f" leads elsewhere, to {elsewhere}")
    assert len(server.asked) == 1


def listing(total: int, *topics: str) -> object:
    return STATS | {
        "topics_total": total,
        "topics": dict.fromkeys(topics, STATS["topics"]["auth"]),
    }


async def test_unlisted_topics_are_read_by_name() -> None:
    script = [
        says(listing(5, "a", "c"), Link='<?topics_after=c>; rel="next"'),
        says(listing(5, "d")),
        says(listing(5)),
    ]
    async with reading(*script, path="/log") as (reader, server):
        stats = await reader.stats(["a", "b", "d", "e"])
    assert server.asked == ["/log/stats", "/log/stats?topic=d", "/log/stats?topic=e"]
    assert stats.of("a") == stats.of("d") == Counts(3, 2, 1, 1, 2)
    assert stats.of("b") == stats.of("e") == Counts()
    assert [topic for topic in "abcdef" if not stats.knows(topic)] == ["f"]
    assert stats.in_pages


async def test_many_unlisted_topics_are_read_by_pages() -> None:
    script = [
        says(listing(4, "a", "b"), Link='<?topics_after=b>; rel="next"'),
        says(listing(4, "c"), Link='<?topics_after=c>; rel="next"'),
        says(listing(4, "d")),
    ]
    async with reading(*script, path="/log") as (reader, server):
        stats = await reader.stats(["c", "d", "e"])
    assert server.asked == ["/log/stats", "/log/stats?topics_after=b", "/log/stats?topics_after=c"]
    assert stats.of("d") == Counts(3, 2, 1, 1, 2)
    assert stats.knows("e")
    assert stats.in_pages


async def test_links_in_a_circle_are_refused() -> None:
    script = [
        says([], Link='<?cursor=a>; rel="next"'),
        says([], Link='<?cursor=b>; rel="next"'),
        says([], Link='<?cursor=a>; rel="next"'),
    ]
    async with reading(*script) as (reader, _):
        with pytest.raises(ReadFailed, match="lead in a circle"):
            _ = [page async for page in reader.pages("auth", 0)]


async def test_has_ignores_the_404_of_a_proxy() -> None:
    problem = says({"detail": "no such event"}, 404, "application/problem+json")
    async with reading(says(event(1)), problem, says("gone", 404, "text/plain")) as (
        reader,
        server,
    ):
        assert await reader.has("auth", "e-1")
        assert not await reader.has("auth", "a/b c")
        with pytest.raises(ReadFailed, match="404: gone"):
            await reader.has("auth", "e-1")
    assert server.asked[:2] == ["/events/auth/e-1", "/events/auth/a%2Fb%20c"]
