"""What is asked of event streams: parameters, positions, and what is refused."""

from support.blocks import ACCEPT_BLOCKS, follow
from support.events import published
from support.http import Client
from support.talking import expect_problem, publish

WRONG: list[tuple[str, str]] = [
    ("", "topic"),
    ("topic=" + "&topic=".join(f"t{n}" for n in range(101)), "topic"),
    ("topic=or*s", "topic"),
    ("topic=**.a", "topic"),
    ("topic=a.**.b", "topic"),
    ("topic=a.***", "topic"),
    ("topic=a b", "topic"),
    ("topic=a&topic=b c", "topic"),
    ("topic=" + "a" * 249 + ".*", "topic"),
    ("topic=a&until=1h", "until"),
    ("topic=a&order=asc", "order"),
    ("topic=a&limit=5", "limit"),
    ("topic=a&cursor=x", "cursor"),
    ("topic=a&event_id=x", "event_id"),
    ("topic=a&topic=b&after=1", "after"),
    ("topic=a.*&after=1", "after"),
    ("topic=a&after=-1", "after"),
    ("topic=a&after=9223372036854775808", "after"),
    ("topic=a&from=end", "from"),
    ("topic=a&last=0", "last"),
    ("topic=a&last=5001", "last"),
    ("topic=a&since=yesterday", "since"),
    ("topic=a&from=start&last=5", "last"),
    ("topic=a&after=1&since=1h", "since"),
    ("topic=a&after=1&from=now", "from"),
    ("topic=a&source=%01", "source"),
    ("topic=a&last_event_id=x", "last_event_id"),
    ("topic=a&last_event_id=-1", "last_event_id"),
    ("topic=a&last_event_id=01", "last_event_id"),
    ("topic=a&last_event_id=9223372036854775808", "last_event_id"),
    ("topic=a&last_event_id=@a", "last_event_id"),
    ("topic=a&last_event_id=@a:1,a:2", "last_event_id"),
    ("topic=a&last_event_id=@a:1,", "last_event_id"),
    ("topic=a&last_event_id=@a%20b:1", "last_event_id"),
    ("topic=a.*&last_event_id=5", "last_event_id"),
    ("topic=a&topic=b&last_event_id=5", "last_event_id"),
    (
        "topic=a.*&last_event_id=@" + ",".join(f"{'t' * 40}{n}:1" for n in range(100)),
        "last_event_id",
    ),
]

MALFORMED = [
    "topic=a&other=1",
    "topic=a&source=",
    "topic=",
    "topic=a&source=x&source=y",
    "topic=a&follow=true",
]


async def test_what_will_never_work_is_refused(client: Client) -> None:
    for query, field in WRONG:
        response = await client.get(f"/events?{query}", headers=ACCEPT_BLOCKS)
        problem = await expect_problem(response, 422)
        assert field in {error["field"] for error in problem["errors"]}, (query, problem)


async def test_a_malformed_query_is_refused(client: Client) -> None:
    for query in MALFORMED:
        response = await client.get(f"/events?{query}", headers=ACCEPT_BLOCKS)
        problem = await expect_problem(response, 422)
        assert "errors" not in problem, query
        # What is always refused is not recommended.
        assert "until" not in problem["detail"]


async def test_so_is_a_position_in_the_header(client: Client) -> None:
    response = await client.get("/events?topic=a", headers={**ACCEPT_BLOCKS, "Last-Event-ID": "x"})
    problem = await expect_problem(response, 422)
    assert problem["detail"].startswith("last_event_id 'x' is not the id of an event of a stream")
    headers = [*ACCEPT_BLOCKS.items(), ("Last-Event-ID", "1"), ("Last-Event-ID", "2")]
    await expect_problem(await client.get("/events?topic=a", headers=headers), 422)


PATTERNS: list[tuple[str, set[str]]] = [
    ("orders.*", {"orders.eu", "orders."}),
    ("orders.**", {"orders.eu", "orders.eu.1", "orders."}),
    ("*", {"orders", "-"}),
    ("**", {"orders", "orders.eu", "orders.eu.1", "orders.", "ordersx.eu", "a..b", "-"}),
    ("*.*", {"orders.eu", "orders.", "ordersx.eu"}),
    ("a.*.b", {"a..b"}),
    ("*.eu", {"orders.eu", "ordersx.eu"}),
    ("orders", {"orders"}),
    ("none.**", set()),
]


async def test_patterns_select_topics_by_their_parts(client: Client) -> None:
    topics = ["orders", "orders.eu", "orders.eu.1", "orders.", "ordersx.eu", "a..b", "-"]
    await publish(client, [published(topic=topic) for topic in topics])
    for pattern, expected in PATTERNS:
        async with follow(client, pattern, from_="start") as stream:
            blocks = await stream.until("caught-up")
        found = {block.data["topic"] for block in blocks if block.event == "message"}
        assert found == expected, pattern


async def test_more_topics_than_a_position_can_tell_are_refused(client: Client) -> None:
    names = [f"{'x' * 200}.{number}" for number in range(25)]
    await publish(client, [published(topic=topic) for topic in names])
    # Wherever it begins: it would come to the heads, and could not be resumed there.
    for begin in ("", "&from=start", "&last_event_id=@"):
        response = await client.get(f"/events?topic=**{begin}", headers=ACCEPT_BLOCKS)
        problem = await expect_problem(response, 422)
        told = "the position of a stream of 25 topics is longer than 4096"
        assert problem["detail"].startswith(told), begin


async def test_a_stream_that_comes_to_have_too_many_topics_ends_and_is_refused_with_the_reason(
    client: Client,
) -> None:
    names = [f"{'x' * 200}.{number}" for number in range(25)]
    async with follow(client, "**", from_="start") as stream:
        await stream.until("caught-up")
        await publish(client, [published(topic=topic) for topic in names])
        blocks = await stream.rest()
    assert 0 < len(blocks) < 25
    # It was given no position with which it could not come back.
    assert all(len(block.id or "") <= 4096 for block in blocks)
    headers = {**ACCEPT_BLOCKS, "Last-Event-ID": stream.last_id or ""}
    problem = await expect_problem(await client.get("/events?topic=**", headers=headers), 422)
    assert problem["detail"].startswith("the position of a stream of 25 topics is longer than 4096")


ACCEPTED = [
    ("text/event-stream", "text/event-stream"),
    ("Text/Event-Stream", "text/event-stream"),
    ("text/event-stream, application/json;q=0.5", "text/event-stream"),
    ("text/*, application/json;q=0.5", "text/event-stream"),
    ("text/event-stream, application/x-ndjson, application/json;q=0", "text/event-stream"),
    ("text/event-stream;q=0.5, application/json", "application/json"),
    ("text/event-stream, application/json", "application/json"),
    ("*/*", "application/json"),
    ("text/html", "application/json"),
]


async def test_who_would_rather_have_a_stream_gets_one(client: Client) -> None:
    for accept, content_type in ACCEPTED:
        async with client.get("/events?topic=a", headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (200, content_type), accept
            assert response.headers["Vary"] == "Accept, Accept-Encoding"
