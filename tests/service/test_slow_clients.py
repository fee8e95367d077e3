"""Clients that are slow or never read, against the real process: they harm only themselves."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database
from support.events import published
from support.load import (
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until,
)
from support.metrics import Scraped
from support.processes import Aggregator
from support.sluggish import (
    BOUND_MIB,
    Connections,
    connections,
    get,
    has_ended,
    head_of_post,
    most_memory_mib,
    post,
    read_answer,
)

Run = Callable[..., Aggregator]

MIB = 2**20
SMALL_BUFFER = 4096

reads_memory = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)


async def store_a_large_page(aggregator: Aggregator, told: Told) -> None:
    """Store as much as a page of the log can hold."""
    async with session() as client:
        for number in range(10):
            event = published(
                topic="large", event_id=f"e-{number}", payload={"text": "x" * (MIB - 2000)}
            )
            await publish_until_taken(client, aggregator.url, [event], told)


def ask_for_a_page(clients: Connections) -> None:
    """Ask until an answer begins to come, and leave it at that."""
    while True:
        silent = clients.open(get("/events?limit=5000"), receive_buffer=SMALL_BUFFER)
        start = silent.recv(12, socket.MSG_PEEK)
        if b"503" not in start:
            assert b"200" in start
            return


@pytest.mark.at_length("postgres")
@reads_memory
async def test_a_hundred_readers_that_never_read_cost_nobody_else_anything(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())
    told = Told()
    await store_a_large_page(aggregator, told)
    with connections(aggregator) as clients:
        for _ in range(10):
            await asyncio.gather(*(asyncio.to_thread(ask_for_a_page, clients) for _ in range(10)))
        # There is room for 64 MiB of answers, so for seven of these.
        await until(lambda: len(aggregator.log_lines("response_aborted")) >= 93)
        async with session() as client:
            await publish_until_taken(client, aggregator.url, batch_of("new", ["e-1"]), told)
            assert await get_json(client, f"{aggregator.url}/health") == {"status": "ok"}
        reader = clients.open(get("/events?topic=large&after=0&limit=5000"))
        status, body = await asyncio.to_thread(read_answer, reader)
        assert status == 200
        assert len(json.loads(body)) == 9
        async with session() as client:
            await check_kept(client, aggregator.url, told, ["large", "new"])
    assert most_memory_mib(aggregator) < BOUND_MIB
    cut_off = aggregator.log_lines("response_aborted")
    assert {line["reason"] for line in cut_off} == {"others need the room"}
    assert not aggregator.log_lines("request_failed")


@reads_memory
async def test_a_hundred_streams_that_nobody_reads_hold_next_to_nothing_and_are_not_cut_off(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())
    told = Told()
    await store_a_large_page(aggregator, told)
    request = get("/events").replace(b"\r\n\r\n", b"\r\nAccept: application/x-ndjson\r\n\r\n")
    with connections(aggregator) as clients:
        streams = [clients.open(request, receive_buffer=SMALL_BUFFER) for _ in range(100)]
        for stream in streams:
            assert b"200" in await asyncio.to_thread(stream.recv, 12)
        async with session() as client:
            await publish_until_taken(client, aggregator.url, batch_of("new", ["e-1"]), told)
            await check_kept(client, aggregator.url, told, ["large", "new"])
            scraped = Scraped(await (await client.get(f"{aggregator.url}/metrics")).text())
        assert scraped.value("aggregator_streams") == 100
        assert not aggregator.log_lines("response_aborted")
    assert most_memory_mib(aggregator) < BOUND_MIB


@reads_memory
async def test_publishers_that_never_read_their_verdicts_are_stored_all_the_same(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    told = Told()
    # Names of full length: the answer is as large as answers to a publish get, 5.7 MB.
    batch = batch_of("u" * 249, (f"turn-{i:0251}" for i in range(10_000)))
    template = json.dumps([event | {"payload": {}} for event in batch]).encode()
    with connections(aggregator) as clients:
        for turn in range(14):
            body = template.replace(b"turn-", b"%04d-" % turn)
            while True:
                silent = clients.open(receive_buffer=SMALL_BUFFER)
                await asyncio.to_thread(silent.sendall, post(body))
                start = await asyncio.to_thread(silent.recv, 12, socket.MSG_PEEK)
                if b"503" not in start:
                    assert b"200" in start
                    break
        assert aggregator.log_lines("response_aborted")
        async with session() as client:
            stats = await get_json(client, f"{aggregator.url}/stats")
            assert stats["unique_processed"] == stats["received"] == 14 * 10_000
            await publish_until_taken(client, aggregator.url, batch_of("new", ["e-1"]), told)
    assert most_memory_mib(aggregator) < BOUND_MIB


async def test_a_reader_that_takes_too_long_is_cut_off(run_aggregator: Run, tmp_path: Path) -> None:
    aggregator = run_aggregator("--send-timeout-ms", "500")
    await store_a_large_page(aggregator, Told())
    with connections(aggregator) as clients:
        silent = clients.open(get("/events?limit=5000"), receive_buffer=SMALL_BUFFER)
        await until(lambda: bool(aggregator.log_lines("response_aborted")))
        await until(lambda: has_ended(silent))
    (line,) = aggregator.log_lines("response_aborted")
    assert line["reason"] == "not taken within 0.5 seconds"
    assert 0 < line["sent"] < line["bytes"]
    assert line["bytes"] > 8 * MIB


async def test_readers_that_never_read_do_not_hold_up_the_end(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    await store_a_large_page(aggregator, Told())
    with connections(aggregator) as clients:
        for _ in range(3):
            client = clients.open(get("/events?limit=5000"), receive_buffer=SMALL_BUFFER)
            await asyncio.to_thread(client.recv, 1)
        assert await asyncio.to_thread(aggregator.stop) == 0


@pytest.mark.parametrize("begun", [b"GET /", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_comes_a_byte_at_a_time_is_given_up(
    run_aggregator: Run, begun: bytes
) -> None:
    aggregator = run_aggregator("--idle-timeout-ms", "1000")
    with connections(aggregator) as clients:
        slow = clients.open(begun)
        ended = False
        async with asyncio.timeout(30):
            while not ended:
                ended = trickle(slow) or has_ended(slow)
                await asyncio.sleep(0.05)
        async with session() as client:
            assert await get_json(client, f"{aggregator.url}/health") == {"status": "ok"}


def trickle(connection: socket.socket) -> bool:
    """Send one more byte; tells whether the connection is gone."""
    try:
        connection.send(b"a")
    except ConnectionError:
        return True
    return False


async def test_bodies_that_come_a_byte_at_a_time_are_given_up_and_hold_nobody_up(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator("--body-timeout-ms", "1500")
    told = Told()
    with connections(aggregator) as clients:
        slow = [clients.open(head_of_post(1000) + b"[") for _ in range(200)]
        async with session() as client:
            for number in range(20):
                for connection in slow:
                    trickle(connection)
                batch = batch_of("quick", [f"e-{number}"])
                assert await publish(client, aggregator.url, batch, told) == 200
            answers = [await asyncio.to_thread(read_answer, connection) for connection in slow]
            assert {status for status, _ in answers} == {503}
            assert all(b"not complete after 1.5 seconds" in body for _, body in answers)
            await check_kept(client, aggregator.url, told, ["quick"])


@reads_memory
async def test_heads_without_end_are_cut_off(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    line = b"X-Long: " + b"a" * 8000 + b"\r\n"
    with connections(aggregator) as clients:
        hostile = [clients.open(b"GET /health HTTP/1.1\r\n") for _ in range(300)]
        for connection in hostile:
            await asyncio.to_thread(send_lines, connection, line, 120)
        await until(lambda: all(map(has_ended, hostile)))
        async with session() as client:
            assert await get_json(client, f"{aggregator.url}/health") == {"status": "ok"}
    assert most_memory_mib(aggregator) < BOUND_MIB


def send_lines(connection: socket.socket, line: bytes, count: int) -> None:
    """Send a line so many times, or until the connection is ended."""
    try:
        for _ in range(count):
            connection.sendall(line)
    except ConnectionError:
        pass
