"""Event streams: where they begin, what they give, and how they are resumed."""

from typing import Any

import pytest
from support.blocks import Block, follow
from support.events import published
from support.http import Client, MakeClient
from support.talking import publish, read_all

FAR_AHEAD, LONG_AGO = "9999-01-01", "2000-01-01"


def offsets(blocks: list[Block]) -> list[int]:
    """The offsets of the events among blocks."""
    return [block.offset for block in blocks if block.event == "message"]


def kinds(blocks: list[Block]) -> list[str]:
    """What blocks are."""
    return [block.event for block in blocks]


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ({"after": 0}, [1, 2, 3, 4, 5]),
        ({"after": 3}, [4, 5]),
        ({"after": 5}, []),
        ({"from_": "start"}, [1, 2, 3, 4, 5]),
        ({"from_": "now"}, []),
        ({}, []),
        ({"last": 2}, [4, 5]),
        ({"last": 5000}, [1, 2, 3, 4, 5]),
        ({"since": LONG_AGO}, [1, 2, 3, 4, 5]),
        ({"since": "1h"}, [1, 2, 3, 4, 5]),
        ({"since": FAR_AHEAD}, []),
        ({"last_event_id": 4}, [5]),
        ({"last_event_id": 4, "from_": "start"}, [5]),
        ({"last_event_id": "@orders:4,other:1"}, [5]),
        ({"last_event_id": "@"}, [1, 2, 3, 4, 5]),
    ],
    ids=str,
)
async def test_it_begins_where_it_is_told_and_goes_on(
    client: Client, beginning: dict[str, Any], expected: list[int]
) -> None:
    await publish(client, [published() for _ in range(5)])
    async with follow(client, "orders", **beginning) as stream:
        blocks = await stream.until("caught-up")
        assert offsets(blocks) == expected
        assert stream.response.headers["Log-Head"] == "5"
        assert stream.response.headers["Log-Start"] == "1"
        event = published()
        await publish(client, event)
        block = await stream.next()
        assert (block.event, block.id, block.data["event_id"]) == (
            "message",
            "6",
            event["event_id"],
        )


async def test_since_begins_with_what_was_stored_at_that_time(client: Client) -> None:
    await publish(client, [published() for _ in range(3)])
    await publish(client, [published() for _ in range(3)])
    events = await read_all(client, topic="orders", after=0)
    async with follow(client, "orders", since=events[3]["ts_ingest"]) as stream:
        assert offsets(await stream.until("caught-up")) == [
            event["offset"] for event in events if event["ts_ingest"] >= events[3]["ts_ingest"]
        ]


async def test_its_events_are_those_of_pages_one_a_line(client: Client) -> None:
    await publish(client, [published(payload={"n": n, "text": "é\n"}) for n in range(3)])
    events = await read_all(client, topic="orders", after=0)
    async with follow(client, "orders", from_="start") as stream:
        blocks = await stream.until("caught-up")
    assert [block.data for block in blocks if block.event == "message"] == events
    first = blocks[1].text.split("\n")
    assert [line.partition(":")[0] for line in first] == ["id", "data", ""]


async def test_a_line_break_of_a_payload_is_given_as_a_space(client: Client) -> None:
    body = (
        b'{"topic":"orders","event_id":"e-1","timestamp":"2026-01-31T12:00:00Z","source":"s",'
        b'"payload":{"a":\r\n1,\n"b": "x"}}'
    )
    response = await client.post(
        "/publish", data=body, headers={"Content-Type": "application/json"}
    )
    assert response.status == 200
    async with follow(client, "orders", from_="start") as stream:
        (block,) = await stream.events(1)
    assert '"payload":{"a":  1, "b": "x"}' in block.text


async def test_what_comes_first_can_be_resumed_from(client: Client) -> None:
    async with follow(client, "orders") as stream:
        first = await stream.next()
        assert first.text == 'retry: 1000\nevent: caught-up\nid: 0\ndata: {"orders":0}\n'
    await publish(client, published())
    async with follow(client, "orders", "b.*", from_="start") as stream:
        first = await stream.next()
        assert first.text == "retry: 1000\nevent: position\nid: @\ndata: @\n"
    async with follow(client, "b.*") as stream:
        first = await stream.next()
        assert first.text == "retry: 1000\nevent: caught-up\nid: @\ndata: {}\n"
    # An empty id would make a client forget that it has one.
    await publish(client, published(topic="b.new"))
    async with follow(client, "b.*", headers={"Last-Event-ID": "@"}) as stream:
        assert offsets(await stream.until("caught-up")) == [1]


async def test_one_stream_follows_many_topics_each_in_order(client: Client) -> None:
    for _ in range(3):
        await publish(
            client, [published(topic=topic) for topic in ("a", "b.1", "b.2", "c") for _ in range(2)]
        )
    async with follow(client, "a", "b.*", from_="start") as stream:
        blocks = await stream.until("caught-up")
        assert blocks[-1].data == {"a": 6, "b.1": 6, "b.2": 6}
        for topic in ("a", "b.1", "b.2"):
            found = [block.offset for block in blocks[1:-1] if block.data["topic"] == topic]
            assert found == [1, 2, 3, 4, 5, 6]
        assert len(blocks) == 20
    # Behind each event, its id leads to the rest.
    for index in (3, 9, 16):
        async with follow(client, "a", "b.*", last_event_id=blocks[index].id) as stream:
            rest = await stream.until("caught-up")
        before = {(b.data["topic"], b.offset) for b in blocks[1 : index + 1]}
        after = [(b.data["topic"], b.offset) for b in rest if b.event == "message"]
        assert len(after) == 18 - index
        assert not before & set(after)


async def test_last_and_now_are_of_each_topic(client: Client) -> None:
    await publish(client, [published(topic=topic) for topic in ("a", "a", "a", "b")])
    async with follow(client, "**", last=2) as stream:
        blocks = await stream.until("caught-up")
        assert sorted((b.data["topic"], b.offset) for b in blocks[1:-1]) == [
            ("a", 2), ("a", 3), ("b", 1),
        ]  # fmt: skip
    async with follow(client, "**") as stream:
        (first,) = await stream.until("caught-up")
        assert first.data == {"a": 3, "b": 1}


async def test_a_topic_that_appears_later_joins_from_its_first_event(
    make_client: MakeClient,
) -> None:
    client, other = await make_client(), await make_client()
    async with follow(client, "new.*") as stream, follow(other, "new.*", "named") as second:
        for each in (stream, second):
            await each.until("caught-up")
        await publish(client, [published(topic="new.1"), published(topic="new.1")])
        await publish(client, [published(topic="other"), published(topic="newer.1")])
        await publish(client, published(topic="named"))
        assert offsets(await stream.events(2)) == [1, 2]
        found = await second.events(3)
        assert sorted((b.data["topic"], b.offset) for b in found) == [
            ("named", 1), ("new.1", 1), ("new.1", 2),
        ]  # fmt: skip
        await publish(other, published(topic="new.2"))
        for each in (stream, second):
            (block,) = await each.events(1)
            assert (block.data["topic"], block.offset) == ("new.2", 1)


async def test_a_topic_that_a_position_does_not_hold_begins_at_its_start(client: Client) -> None:
    await publish(client, [published(topic=topic) for topic in ("a", "b", "b", "c")])
    async with follow(client, "b", "c", headers={"Last-Event-ID": "@a:1,b:1"}) as stream:
        blocks = await stream.until("caught-up")
    assert sorted((b.data["topic"], b.offset) for b in blocks[1:-1]) == [("b", 2), ("c", 1)]
    assert blocks[-1].id == "@b:2,c:1"


async def test_the_header_wins_over_the_parameter_and_over_where_to_begin(client: Client) -> None:
    await publish(client, [published() for _ in range(3)])
    headers = {"Last-Event-ID": "2"}
    async with follow(client, "orders", headers=headers, last_event_id=0, from_="start") as stream:
        assert offsets(await stream.until("caught-up")) == [3]
    # Who sends an empty one has none.
    async with follow(client, "orders", headers={"Last-Event-ID": ""}, last_event_id=1) as stream:
        assert offsets(await stream.until("caught-up")) == [2, 3]


async def test_a_position_above_the_head_is_a_gap_that_is_told_first(client: Client) -> None:
    await publish(client, [published(topic=topic) for topic in ("a", "a", "b")])
    async with follow(client, "a", after=7) as stream:
        blocks = await stream.until("caught-up")
        assert kinds(blocks) == ["gap", "caught-up"]
        assert blocks[0].text.startswith("retry: 1000\n")
        assert blocks[0].id == "2"
        assert blocks[0].data == {
            "topic": "a", "from": 3, "to": 7, "reason": "head_is_lower", "head": 2,
        }  # fmt: skip
        await publish(client, published(topic="a"))
        assert offsets(await stream.events(1)) == [3]
    position = "@a:9,b:8,gone.x:4"
    async with follow(client, "a", "b", "gone.*", last_event_id=position) as stream:
        blocks = await stream.until("caught-up")
    assert [(b.data["topic"], b.data["from"], b.data["to"]) for b in blocks[:-1]] == [
        ("a", 4, 9), ("b", 2, 8), ("gone.x", 1, 4),
    ]  # fmt: skip
    # Who is cut off between them is told the others.
    async with follow(client, "a", "b", "gone.*", last_event_id=blocks[0].id) as stream:
        rest = await stream.until("caught-up")
    assert [b.data["topic"] for b in rest[:-1]] == ["b", "gone.x"]


async def test_a_filter_by_source_moves_the_position_too(make_client: MakeClient) -> None:
    client = await make_client(stream_heartbeat_ms=50)
    sources = ["web-1", 'a"b\\', "web-1", "x", "x"]
    await publish(client, [published(source=source) for source in sources])
    async with follow(client, "orders", source="web-1", from_="start") as stream:
        blocks = await stream.until("caught-up")
        assert offsets(blocks) == [1, 3]
        assert (blocks[-1].id, blocks[-1].data) == ("5", {"orders": 5})
        await publish(client, [published(source="x"), published(source="x")])
        block = await stream.next()
        assert (block.event, block.id, block.data) == ("position", "7", "7")
        await publish(client, published(source="web-1"))
        assert offsets(await stream.events(1)) == [8]
    async with follow(client, "orders", source='a"b\\', from_="start") as stream:
        assert offsets(await stream.until("caught-up")) == [2]
