"""The life of event streams: signs of life, ends, room, and what can't be served now."""

import asyncio
import socket

import structlog
from support.blocks import ACCEPT_BLOCKS, follow, unavailable
from support.events import published
from support.http import Client, MakeClient
from support.stores import until
from support.talking import expect_problem, publish
from support.waiting import scrape

from aggregator.app import DRAIN


async def test_the_headers_keep_it_from_being_kept(client: Client) -> None:
    async with follow(client, "orders") as stream:
        headers = stream.response.headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Log-Head" in headers
        assert "Content-Length" not in headers
        assert "Content-Encoding" not in headers
    async with follow(client, "orders", "b") as stream:
        assert "Log-Head" not in stream.response.headers
    response = await client.head("/events?topic=orders", headers=ACCEPT_BLOCKS)
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert (await scrape(client)).value("aggregator_following_streams") == 0


async def test_silence_is_broken_by_a_comment_line_that_ends_no_block(
    make_client: MakeClient,
) -> None:
    client = await make_client(stream_heartbeat_ms=20)
    async with follow(client, "orders") as stream:
        await stream.next()
        lines = [await stream.response.content.readline() for _ in range(3)]
        assert lines == [b":\n"] * 3
        await publish(client, published())
        (block,) = await stream.events(1)
        assert block.text.startswith("id: 1\ndata: ")


async def test_a_life_ends_between_two_events_and_nothing_is_missed(
    make_client: MakeClient,
) -> None:
    client = await make_client(stream_lifetime_ms=100, stream_heartbeat_ms=30)
    published_ids: list[str] = []
    seen: list[str] = []
    last_id, lives = "0", 0
    while lives < 3 or len(seen) < len(published_ids):
        async with follow(client, "orders", headers={"Last-Event-ID": last_id}) as stream:
            events = [published() for _ in range(10)]
            published_ids += [event["event_id"] for event in events]
            await publish(client, events)
            blocks = await stream.rest()
            assert stream.last_id is not None
            last_id = stream.last_id
        seen += [block.data["event_id"] for block in blocks if block.event == "message"]
        lives += 1
    assert seen == published_ids


async def test_at_shutdown_it_ends_and_no_new_one_is_opened(client: Client) -> None:
    await publish(client, published())
    async with follow(client, "orders", from_="start") as stream:
        await stream.until("caught-up")
        drain = asyncio.create_task(client.app[DRAIN]())
        assert await stream.rest() == []
        await drain
        assert "shutting down" in await unavailable(client, "orders")
        problem = await expect_problem(
            await client.get(
                "/events?topic=orders&follow=true", headers={"Accept": "application/x-ndjson"}
            ),
            503,
        )
        assert "shutting down" in problem["detail"]


async def test_above_the_limit_a_browser_is_told_to_come_back(make_client: MakeClient) -> None:
    client = await make_client(max_streams=2)
    async with follow(client, "a") as first, follow(client, "b.*") as second:
        for each in (first, second):
            await each.next()
        assert "2 answers are streamed" in await unavailable(client, "c")
        assert (await scrape(client)).value("aggregator_refusals_total", of="streams") == 1
    async with asyncio.timeout(30):
        while (await scrape(client)).value("aggregator_streams"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    async with follow(client, "c") as third:
        assert (await third.next()).event == "caught-up"


async def test_a_stream_is_in_the_log_at_its_start_and_at_its_end(client: Client) -> None:
    await publish(client, [published(), published()])
    with structlog.testing.capture_logs() as logged:
        async with follow(client, "orders", after=1) as stream:
            await stream.until("caught-up")
            (opened,) = [line for line in logged if line["event"] == "stream_opened"]
        await until(lambda: any(line["event"] == "request" for line in logged), "its line")
        (ended,) = [line for line in logged if line["event"] == "request"]
    assert opened["path"] == "/events"
    assert (opened["position"], opened["topics"]) == ("1", 1)
    assert opened["request_id"] == ended["request_id"] == stream.response.headers["X-Request-ID"]
    assert (ended["status"], ended["ended_by"], ended["events"]) == (200, "client", 1)


async def test_the_metrics_count_streams_and_events_and_how_far_behind_one_is(
    client: Client,
) -> None:
    await publish(client, [published() for _ in range(3)])
    async with follow(client, "orders", from_="start") as stream:
        await stream.until("caught-up")
        scraped = await scrape(client)
        assert scraped.value("aggregator_following_streams") == 1
        assert scraped.value("aggregator_streams") == 1
        assert scraped.value("aggregator_streamed_events_total") == 3
        assert scraped.value("aggregator_stream_lag_events") == 0


async def test_a_client_that_ends_its_side_is_given_what_is_there(client: Client) -> None:
    await publish(client, [published() for _ in range(3)])
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"GET /events?topic=orders&from=start HTTP/1.1\r\nHost: x\r\n"
        b"Accept: text/event-stream\r\n\r\n"
    )
    writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.count(b'\ndata: {"topic"') == 3
    assert b"event: caught-up" in answer
    assert answer.endswith(b"0\r\n\r\n")


async def test_with_http_1_0_it_ends_with_the_connection(make_client: MakeClient) -> None:
    client = await make_client(stream_lifetime_ms=100)
    await publish(client, published())
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"GET /events?topic=orders&from=start HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
        b"Accept: text/event-stream\r\n\r\n"
    )
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"chunked" not in head
    assert [line.partition(b":")[0] for line in body.split(b"\n\n")[1].split(b"\n")] == [
        b"id", b"data",
    ]  # fmt: skip


async def test_the_kernel_holds_little_of_what_a_dead_reader_does_not_take(
    make_client: MakeClient,
) -> None:
    client = await make_client(send_timeout_ms=100)
    for _ in range(8):
        await publish(client, [published(payload={"text": "x" * 1_000_000})])
    with socket.socket() as connection, structlog.testing.capture_logs() as logged:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (client.host, client.port))
        await loop.sock_sendall(
            connection,
            b"GET /events?topic=orders&from=start HTTP/1.1\r\nHost: x\r\n"
            b"Accept: text/event-stream\r\n\r\n",
        )
        await until(lambda: any(line["event"] == "request" for line in logged), "its end")
    (aborted,) = [line for line in logged if line["event"] == "response_aborted"]
    # Four million without a bound.
    assert aborted["sent"] < 1_500_000
    (ended,) = [line for line in logged if line["event"] == "request" and "ended_by" in line]
    assert (ended["status"], ended["complete"], ended["ended_by"]) == (200, False, "slow")


async def test_one_that_is_ended_before_it_begins_can_be_resumed_all_the_same(
    make_client: MakeClient,
) -> None:
    client = await make_client(stream_lifetime_ms=1)
    await publish(client, [published(topic=topic) for topic in ("a", "a", "b")])
    async with follow(client, "*", headers={"Last-Event-ID": "@a:1"}) as stream:
        blocks = await stream.rest()
    assert blocks[0].id is not None
    assert blocks[0].text.startswith("retry: 1000\n")
    client = await make_client()
    async with follow(client, "*", last_event_id=stream.last_id) as stream:
        blocks += await stream.until("caught-up")
    seen = [f"{b.data['topic']}{b.offset}" for b in blocks if b.event == "message"]
    assert sorted(seen) == ["a2", "b1"]


async def test_the_events_of_a_stream_that_is_cut_off_are_counted(make_client: MakeClient) -> None:
    client = await make_client(send_timeout_ms=100)
    await publish(client, [published(payload={"text": "x" * 60_000}) for _ in range(100)])
    with structlog.testing.capture_logs() as logged:
        async with follow(client, "orders", from_="start") as stream:
            await stream.events(2)
        await until(lambda: any("ended_by" in line for line in logged), "its line")
    (ended,) = [line for line in logged if "ended_by" in line]
    assert ended["bytes"] // 61_000 <= ended["events"] + 2
    assert ended["events"] >= 2
