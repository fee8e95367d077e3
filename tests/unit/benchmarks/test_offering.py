"""Requests leave when they are due, and a stall counts for all that were due in it."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))
from benchmarks.driving import get
from benchmarks.open_loop import Stalled, arrivals, offer

REQUESTS = 200
CONNECTIONS = 4
DUE_S = arrivals(2_000, REQUESTS)


@asynccontextmanager
async def server(before_answer: Callable[[int], Awaitable[None]]) -> AsyncIterator[int]:
    """Its port; it answers when `before_answer`, given the number of the request, has returned."""
    taken: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        taken.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while head := await reader.readline():
                if head.startswith(b"GET /"):
                    await before_answer(int(head.split()[1][1:]))
                    # In pieces, as a large answer comes.
                    for piece in (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", b"\r\n{", b"}"):
                        writer.write(piece)
                        await writer.drain()
        finally:
            # Python 3.11.2 does not close it when this one fails.
            writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.gather(*taken, return_exceptions=True)
        for writer in writers:
            # One that broke has not been closed.
            writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_stall_counts_for_every_request_that_was_due_in_it() -> None:
    reopened: list[float] = []
    stall: list[asyncio.Task[None]] = []

    async def until_all_are_due() -> None:
        # The first one can't have come before it could have been due.
        due = asyncio.Event()
        asyncio.get_running_loop().call_later(DUE_S[-1] + 0.01, due.set)
        await due.wait()
        reopened.append(time.perf_counter())

    async def stalled(_: int) -> None:
        if not stall:
            stall.append(asyncio.create_task(until_all_are_due()))
        await asyncio.shield(stall[0])

    requests = [get(f"/{number}") for number in range(REQUESTS)]
    async with server(stalled) as port:
        offered = await asyncio.to_thread(offer, port, requests, DUE_S, CONNECTIONS)
    assert offered.statuses == {200: REQUESTS}
    since_begun = reopened[0] - offered.begun
    assert since_begun >= DUE_S[-1]
    for due_s, latency_s in zip(DUE_S, offered.latencies_s, strict=True):
        assert latency_s >= since_begun - due_s
    # All but those that found a connection waited for one, and that is told.
    for due_s, late_s in list(zip(DUE_S, offered.late_s, strict=True))[CONNECTIONS:]:
        assert late_s >= since_begun - due_s


async def test_no_request_leaves_before_it_is_due() -> None:
    came: dict[int, float] = {}

    async def note(number: int) -> None:
        came[number] = time.perf_counter()

    requests = [get(f"/{number}") for number in range(REQUESTS)]
    async with server(note) as port:
        offered = await asyncio.to_thread(offer, port, requests, DUE_S, CONNECTIONS)
    assert offered.statuses == {200: REQUESTS}
    assert all(came[number] >= offered.begun + DUE_S[number] for number in range(REQUESTS))
    assert min(offered.late_s) >= 0
    assert all(
        latency_s >= late_s
        for latency_s, late_s in zip(offered.latencies_s, offered.late_s, strict=True)
    )
    assert offered.seconds >= DUE_S[-1]


async def test_a_greeting_is_answered_on_every_connection_before_the_start() -> None:
    came: list[tuple[int, float]] = []

    async def note(number: int) -> None:
        came.append((number, time.perf_counter()))

    greeting, requests = get("/999"), [get(f"/{number}") for number in range(REQUESTS)]
    async with server(note) as port:
        offered = await asyncio.to_thread(offer, port, requests, DUE_S, CONNECTIONS, greeting)
    greeted, rest = came[:CONNECTIONS], came[CONNECTIONS:]
    assert [number for number, _ in greeted] == [999] * CONNECTIONS
    assert max(at for _, at in greeted) < offered.begun
    assert sorted(number for number, _ in rest) == list(range(REQUESTS))
    assert offered.statuses == {200: REQUESTS}


async def test_a_server_that_ends_a_connection_is_no_figure() -> None:
    async def fail(_: int) -> None:
        raise ConnectionResetError

    async with server(fail) as port:
        with pytest.raises(Stalled):
            await asyncio.to_thread(offer, port, [get("/0")], [0.0], 1)


def test_arrivals_are_of_their_rate_and_the_same_for_the_same_seed() -> None:
    due_s = arrivals(1_000, 20_000, seed=3)
    assert due_s == sorted(due_s) == arrivals(1_000, 20_000, seed=3) != arrivals(1_000, 20_000)
    assert 19 < due_s[-1] < 21
