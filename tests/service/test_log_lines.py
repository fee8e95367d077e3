"""The log of the real process: JSON lines that nothing in a request can break."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.command import environment
from support.events import published
from support.load import LIMIT_S, Told, batch_of, get_json, publish, session, until_answer
from support.processes import Aggregator
from support.sockets import post

Run = Callable[..., Aggregator]
SECRET = "a-payload-never-to-be-seen"


async def until_logged(aggregator: Aggregator, **fields: object) -> dict[str, Any]:
    """The first line with these fields, as soon as it is there."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for line in aggregator.log_lines():
                if fields.items() <= line.items():
                    return line
            await asyncio.sleep(0.01)


def check_lines(aggregator: Aggregator) -> None:
    """Every line is a JSON object of its own, without control characters."""
    written = aggregator.written()
    assert written.endswith(b"\n")
    for line in written[:-1].split(b"\n"):
        content = json.loads(line)
        assert {"event", "level", "timestamp"} <= set(content)
        assert not re.search(rb"[\x00-\x1f\x7f]", line)


async def raw_exchange(url: str, request: bytes) -> bytes:
    """Send bytes that no client would send; returns the head of the answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    try:
        async with asyncio.timeout(LIMIT_S):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def test_each_request_is_one_line_with_what_was_asked_and_what_came_of_it(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    events = batch_of("orders", ["e-1", "e-2", "e-1"])
    async with session() as client:
        answer = await client.post(
            f"{aggregator.url}/publish", json=events, headers={"X-Request-ID": "try-1"}
        )
        assert answer.headers["X-Request-ID"] == "try-1"
        missing = await client.get(f"{aggregator.url}/events/orders/e-9?x=1")
        made = missing.headers["X-Request-ID"]
        assert made
    line = await until_logged(aggregator, event="request", request_id="try-1")
    assert line["duration_ms"] > 0
    expected = {
        "method": "POST", "path": "/publish", "status": 200, "client": "127.0.0.1",
        "received": 3, "unique_processed": 2, "duplicate_dropped": 1,
    }  # fmt: skip
    assert line["user_agent"].startswith("Python/")
    assert line | expected == line
    line = await until_logged(aggregator, event="request", request_id=made)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/events/orders/e-9", 404)
    assert aggregator.stop() == 0
    assert len(aggregator.log_lines("request")) == 2
    check_lines(aggregator)


async def test_each_flush_is_one_line_with_its_events_requests_and_duration(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    told = Told()
    batches = [batch_of("orders", [f"{p}-{n}" for n in range(3)]) for p in range(20)]
    async with session() as client:
        await asyncio.gather(*(publish(client, aggregator.url, batch, told) for batch in batches))
    assert aggregator.stop() == 0
    flushes = aggregator.log_lines("flush")
    assert sum(flush["events"] for flush in flushes) == 60
    assert sum(flush["requests"] for flush in flushes) == 20
    assert all(flush["duration_ms"] > 0 for flush in flushes)


async def test_a_conflict_is_a_warning_that_names_the_event(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    async with session() as client:
        for total in (1, 2):
            event = published(event_id="e-1", payload={"total": total})
            headers = {"X-Request-ID": f"try-{total}"}
            await client.post(f"{aggregator.url}/publish", json=event, headers=headers)
    line = await until_logged(aggregator, event="conflict")
    expected = {"level": "warning", "topic": "orders", "event_id": "e-1", "request_id": "try-2"}
    assert line | expected == line


async def test_thousands_of_conflicts_are_a_few_warnings_that_count_the_others(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    async with session() as client:
        for total in range(3):
            batch = [published(event_id=f"e-{n}", payload={"total": total}) for n in range(2_000)]
            answer = await client.post(f"{aggregator.url}/publish", json=batch)
            assert answer.status == 200
        stats = await get_json(client, f"{aggregator.url}/stats")
        assert stats["conflicts"] == 4_000
    assert aggregator.stop() == 0
    warnings = aggregator.log_lines("conflict")
    # Ten a second; even on the slowest machine this is not the work of a minute.
    assert 10 <= len(warnings) <= 600
    later = [line for line in warnings if "suppressed" in line]
    told_of = len(warnings) + sum(line["suppressed"] for line in later)
    assert told_of <= 4_000


async def test_no_payload_gets_into_the_log(run_aggregator: Run, tmp_path: Path) -> None:
    """Neither when all goes well, nor refused, nor in conflict, nor when storing is given up."""
    aggregator = run_aggregator(
        "--database", "events.db", "--log-level", "debug", "--drain-timeout-ms", "300",
        "--sqlite-busy-timeout-ms", "2000", "--max-batch-events", "5", "--queue-max-events", "5",
    )  # fmt: skip
    url = f"{aggregator.url}/publish"
    async with session() as client:
        for body in (
            published(event_id="e-1", payload={SECRET: SECRET}),
            published(event_id="e-1", payload={SECRET: SECRET, "more": 1}),
            published(payload={SECRET: SECRET}, topic=""),
            {SECRET: SECRET},
        ):
            await client.post(url, json=body)
        await client.post(url, data=f'[{{"payload": "{SECRET}'.encode())
        lock = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        batch = [published(payload={"v": SECRET}) for _ in range(5)]
        waiting = asyncio.create_task(client.post(url, json=batch))
        await until_answer(client, f"{aggregator.url}/ready", 503, "queue is full")
        assert await asyncio.to_thread(aggregator.stop) == 0
        lock.close()
        await asyncio.gather(waiting, return_exceptions=True)
    assert aggregator.log_lines("conflict")
    assert aggregator.log_lines("flush_failed")
    assert SECRET.encode() not in aggregator.written()


FAILING = """
import sys, structlog
from aggregator.logging import setup
writer = setup.configure(sys.stdout.buffer, as_json=sys.argv[1] == "json", level="info")
def store(payload):
    raise RuntimeError("unforeseen")
try:
    store("a-payload-" + "never-to-be-seen")
except RuntimeError:
    structlog.get_logger().exception("request_failed")
writer.close()
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_in_the_log_shows_no_variables(log_format: str) -> None:
    command = [sys.executable, "-c", FAILING, log_format]
    written = subprocess.check_output(command, env=environment()).decode()
    assert "unforeseen" in written
    assert "store" in written
    assert SECRET not in written


HOSTILE_IDS = [
    b"two words",
    b"tab\there",
    b"\x1b[31mred",
    b"\xff\xfe",
    "caf\u00e9".encode(),
    b'","event":"forged',
    b"x" * 5_000,
    b"\xed\xa0\x80",
]


async def test_a_hostile_request_id_does_not_break_a_line(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    for request_id in HOSTILE_IDS:
        head = await raw_exchange(
            aggregator.url,
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + request_id + b"\r\n\r\n",
        )
        status = int(head.split()[1])
        assert status in {200, 400}, request_id
        if status == 200:
            # Printable ASCII without spaces is taken as it is, all else is replaced.
            returned = re.search(rb"X-Request-ID: (.*)\r\n", head)
            assert returned is not None, request_id
            usable = re.fullmatch(rb"[\x21-\x7e]{1,128}", request_id)
            assert (returned[1] == request_id) == bool(usable), request_id
            await until_logged(aggregator, event="request", request_id=returned[1].decode())
    assert aggregator.stop() == 0
    check_lines(aggregator)
    assert len(aggregator.log_lines("request")) >= 2
    assert not aggregator.log_lines("forged")


MALFORMED = [
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/7.x hush\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization hush\r\n\r\n",
    b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: hush\r\n\r\n",
    b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
    b"GET http://[hush HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"hush" * 4_000 + b"\r\n\r\n",
]


async def test_requests_that_are_no_http_are_a_few_lines_that_count_the_others(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    sent = MALFORMED * 10
    for request in sent:
        assert (await raw_exchange(aggregator.url, request)).split()[1] == b"400"
    # At once: what was left out last is counted at the end of the process.
    assert aggregator.stop() == 0
    lines = aggregator.log_lines()
    assert {line["level"] for line in lines} == {"info"}
    malformed = [line for line in lines if line["event"] == "malformed_request"]
    assert all(line["reason"] and line["client"] == "127.0.0.1" for line in malformed)
    assert len({line["reason"] for line in malformed}) == len(MALFORMED)
    left_out = sum(line.get("suppressed", 0) for line in lines)
    assert len(malformed) + left_out == len(sent)
    written = aggregator.written()
    assert b"Traceback" not in written
    assert b"hush" not in written


async def test_a_body_that_breaks_off_in_a_bad_chunk_is_refused_at_once(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator()
    parts = urlsplit(aggregator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(post(b"1\r\n[\r\n", Transfer_Encoding="chunked").replace(
        b"Content-Length: 6\r\n", b""))  # fmt: skip
    await writer.drain()
    assert aggregator.log_lines("listening"), "the head has been read by now"
    writer.write(b"hush\r\n")
    async with asyncio.timeout(LIMIT_S):
        assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    assert aggregator.stop() == 0
    assert {line["level"] for line in aggregator.log_lines()} == {"info"}


HOSTILE_PATHS = [
    b"/%0a%0d%00%1b[31m",
    b"/events/a%0Ab/%7f%c2%85",
    b"/\xff\xfe",
    b"/%ff%fe%ed%a0%80",
    b'/","event":"forged',
    b"/" + b"x" * 7_000,
    b"//[::1",
    b"*",
    b"http://[/",
    b"/\xc3\xa9\xe2\x80\xa8",
    b"/events/a/%F0%9F%92%A9",
    b"/events?topic=%00",
]


async def test_a_hostile_path_does_not_break_a_line(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    logged = 0
    for target in HOSTILE_PATHS:
        head = await raw_exchange(
            aggregator.url, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert head.split()[1] in {b"400", b"404", b"405", b"414", b"422"}, (target, head)
        logged += b"X-Request-ID" in head
    assert aggregator.stop() == 0
    check_lines(aggregator)
    assert len(aggregator.log_lines("request")) >= logged >= 5
    assert not aggregator.log_lines("forged")
    assert not aggregator.log_lines("request_failed")
