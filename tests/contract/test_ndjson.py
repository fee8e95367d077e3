"""Events as NDJSON: all that a query selects, in one answer, one event a line."""

from typing import Any

import pytest
from support.events import published
from support.http import Client, MakeClient
from support.lines import ACCEPT_LINES, read_lines
from support.talking import expect_problem, publish, read_all, text_of

import aggregator.reading.stream_limit

READS: list[dict[str, object]] = [
    {},
    {"order": "desc"},
    {"topic": "b"},
    {"topic": "b", "after": 3},
    {"topic": "b", "from": "start"},
    {"topic": "b", "order": "desc"},
    {"topic": "b", "after": 3, "order": "desc"},
    {"source": "rare"},
    {"source": "rare", "order": "desc"},
    {"topic": "b", "source": "rare"},
    {"topic": "b", "source": "rare", "order": "desc"},
    {"since": "2000-01-01", "until": "9999-01-01"},
    {"order": "desc", "until": "9999-01-01"},
    {"since": "1h", "source": "common"},
    {"topic": "b", "since": "1h", "until": "0s"},
    {"topic": "none"},
    {"until": "1h"},
    {"until": "1h", "order": "desc"},
    {"topic": "b", "until": "1h", "order": "desc"},
]


async def fill(client: Client) -> None:
    """Fourteen events of `b` and of `a` each; two of each are of the source `rare`."""
    for _ in range(2):
        await publish(
            client,
            [
                published(topic=topic, source="rare" if number == 3 else "common")
                for number in range(7)
                for topic in ("b", "a")
            ],
        )


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a stream of three events, so that there are several."""
    monkeypatch.setattr(aggregator.reading.stream_limit, "_MIN_PAGE_BYTES", 3 * 256)
    monkeypatch.setattr(aggregator.reading.stream_limit, "_MAX_PAGE_BYTES", 3 * 256)


@pytest.mark.parametrize("read", READS, ids=str)
async def test_lines_are_the_events_of_all_pages_oldest_first(
    client: Client, read: dict[str, object], small_pages: None
) -> None:
    await fill(client)
    assert await read_lines(client, **read) == await read_all(
        client, **{"order": "asc", "limit": 5000} | read
    )


async def test_a_limit_ends_the_answer_whatever_its_size(client: Client, small_pages: None) -> None:
    await fill(client)
    whole = await read_lines(client)
    for limit in (1, 3, 7, 28, 10**12):
        assert await read_lines(client, limit=limit) == whole[:limit]
        assert await read_lines(client, limit=limit, order="desc") == whole[::-1][:limit]
    response = await client.get("/events?limit=0", headers=ACCEPT_LINES)
    await expect_problem(response, 422)


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        ("application/x-ndjson", True),
        ("APPLICATION/X-NDJSON", True),
        ("application/x-ndjson;q=0.9, application/json;q=0.8", True),
        ("application/json;q=0.8, application/x-ndjson; charset=utf-8", True),
        ("application/x-ndjson, */*;q=0.1", True),
        ("application/x-ndjson, application/json", False),
        ("application/x-ndjson;q=0, */*", False),
        ("application/x-ndjson;q=0.2, application/*", False),
        ("application/x-ndjson;q=wrong", False),
        ("application/json", False),
        ("*/*", False),
        ("text/html, */*;q=0.8", False),
        ("text/html", False),
        ("", False),
    ],
)
async def test_who_would_rather_have_lines_gets_lines(
    client: Client, accept: str, lines: bool
) -> None:
    await fill(client)
    response = await client.get("/events", headers={"Accept": accept})
    assert response.status == 200
    expected = "application/x-ndjson" if lines else "application/json"
    assert response.content_type == expected
    assert "Accept" in response.headers["Vary"]


async def test_no_page_is_left_to_link_to_and_the_head_is_said(client: Client) -> None:
    await fill(client)
    response = await client.get("/events?topic=b&limit=2", headers=ACCEPT_LINES)
    assert "Link" not in response.headers
    assert response.headers["Log-Head"] == "14"
    assert response.headers["Log-Start"] == "1"
    response = await client.get("/events", headers=ACCEPT_LINES)
    assert "Log-Head" not in response.headers
    response = await client.get("/events?topic=none", headers=ACCEPT_LINES)
    assert response.headers["Log-Head"] == "0"
    assert await response.read() == b""


@pytest.mark.parametrize("query", ["cursor=x", "follow=true", "topic=a&topic=b", "order=up"])
async def test_what_fits_no_lines_is_refused(client: Client, query: str) -> None:
    await expect_problem(await client.get(f"/events?{query}", headers=ACCEPT_LINES), 422)


async def test_one_event_is_a_line_or_none(client: Client) -> None:
    await publish(client, [published(event_id="e-1"), published(event_id="e-2")])
    assert await read_lines(client, topic="orders", event_id="e-2") == await read_all(
        client, topic="orders", event_id="e-2"
    )
    assert await read_lines(client, topic="orders", event_id="e-3") == []


async def test_a_line_break_within_a_payload_is_a_space(client: Client) -> None:
    payload = '{"a":\r\n 1,\r"b":\n"\\n"}'
    await publish(client, text_of(payload=payload))
    for query in ("", "?topic=orders&event_id=e-1"):
        response = await client.get(f"/events{query}", headers=ACCEPT_LINES)
        body = await response.text()
        assert body.count("\n") == 1
        assert '{"a":   1, "b": "\\n"}' in body


async def test_a_head_alone_has_no_lines(client: Client) -> None:
    await fill(client)
    response = await client.head("/events?topic=a", headers=ACCEPT_LINES)
    assert response.status == 200
    assert response.headers["Log-Head"] == "14"
    assert response.content_type == "application/x-ndjson"
    assert await response.read() == b""


async def test_lines_do_not_wait(client: Client) -> None:
    await fill(client)
    response = await client.get(
        "/events?topic=b&after=14", headers=ACCEPT_LINES | {"Prefer": "wait=60"}
    )
    assert "Preference-Applied" not in response.headers
    assert await response.read() == b""


async def test_above_so_many_streams_there_is_no_room(make_client: MakeClient) -> None:
    client = await make_client(max_streams=1)
    await publish(client, [large() for _ in range(20)])
    first = await client.get("/events", headers=ACCEPT_LINES)
    problem = await expect_problem(await client.get("/events", headers=ACCEPT_LINES), 503)
    assert "streamed" in problem["detail"]
    assert len((await first.text()).splitlines()) == 20
    assert (await client.get("/events", headers=ACCEPT_LINES)).status == 200


def large() -> dict[str, Any]:
    """An event that no socket's buffer has room for many of."""
    return published(payload={"text": "x" * 700_000})
