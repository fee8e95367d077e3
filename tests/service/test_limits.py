"""Requests at every limit at once, against the real process."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database
from support.events import published
from support.load import check_conservation, get_json, session
from support.processes import Aggregator
from support.sluggish import BOUND_MIB, connections, most_memory_mib, post, read_answer

MIB = 2**20
MAX_BODY = 16 * MIB
MAX_EVENTS = 10_000


def payload_of(size: int) -> str:
    """A payload's text of so many bytes."""
    return json.dumps({"text": "x" * (size - len('{"text": ""}'))})


def with_payloads(name: str, size: int, count: int) -> bytes:
    """A batch with payloads of so many bytes each."""
    events = (
        json.dumps(published(event_id=f"{name}-{n}", payload=0)).replace(
            '"payload": 0', f'"payload": {payload_of(size)}'
        )
        for n in range(count)
    )
    return f"[{','.join(events)}]".encode()


def bodies(turn: int) -> list[tuple[str, bytes, int]]:
    """What is exactly at each limit, and one above: a name, a body, and the status it must get."""
    whole = with_payloads(f"bytes-{turn}", MIB, 15)
    many = [published(event_id=f"events-{turn}-{n}") for n in range(MAX_EVENTS)]
    return [
        ("bytes", whole.ljust(MAX_BODY), 200),
        ("bytes and one", whole.ljust(MAX_BODY + 1), 413),
        ("events", json.dumps(many).encode(), 200),
        ("events and one", json.dumps([*many, published()]).encode(), 413),
        ("payload", with_payloads(f"payload-{turn}", MIB, 1), 200),
        ("payload and one", with_payloads(f"payload-{turn}-more", MIB + 1, 1), 413),
    ]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)
async def test_requests_at_and_over_every_limit_are_answered_as_they_must_be(
    run_aggregator: Callable[..., Aggregator], database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())

    def send(body: bytes) -> int:
        with connections(aggregator) as clients:
            return read_answer(clients.open(post(body)))[0]

    async def send_until_taken(name: str, body: bytes, expected: int) -> None:
        async with asyncio.timeout(100):
            while (status := await asyncio.to_thread(send, body)) == 503:
                pass
        assert status == expected, name

    await asyncio.gather(*(send_until_taken(*each) for turn in range(3) for each in bodies(turn)))
    assert most_memory_mib(aggregator) < BOUND_MIB
    assert not aggregator.log_lines("request_failed")
    async with session() as client:
        stats = await get_json(client, f"{aggregator.url}/stats")
    check_conservation(stats)
    assert stats["unique_processed"] == stats["received"] == 3 * (15 + MAX_EVENTS + 1)
