"""Connections that do nothing, against the real process: they are bounded and keep nobody out."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.load import (
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until,
    until_ready,
)
from support.processes import Aggregator
from support.sluggish import (
    BOUND_MIB,
    Connections,
    connections,
    has_ended,
    head_of_post,
    most_memory_mib,
)

resource = pytest.importorskip("resource", reason="limits on descriptors are those of Unix")

Run = Callable[..., Aggregator]

FEW = ("--max-waits", "1", "--max-streams", "1")
"""What may be held takes half of the connections at most."""


def open_many(clients: Connections, number: int) -> None:
    """Connections that send nothing, or half of a head."""
    for each in range(number):
        clients.open(b"POST /publish HTTP/1.1\r\nHost: x\r\n" if each % 2 else b"")


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)
async def test_ten_thousand_idle_connections_keep_nobody_out(
    run_aggregator: Run, many_descriptors: int
) -> None:
    aggregator = run_aggregator()
    told = Told()
    with connections(aggregator) as clients:
        await asyncio.to_thread(open_many, clients, many_descriptors)
        async with session() as client:
            for number in range(10):
                batch = batch_of("orders", [f"e-{number}"])
                assert await publish(client, aggregator.url, batch, told) == 200
                assert await get_json(client, f"{aggregator.url}/health") == {"status": "ok"}
            await check_kept(client, aggregator.url, told, ["orders"])
        assert not aggregator.log_lines("too_many_connections")
    assert most_memory_mib(aggregator) < BOUND_MIB


async def test_beyond_the_bound_the_connection_that_was_idle_longest_is_ended(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator("--max-connections", "20", *FEW)
    told = Told()
    with connections(aggregator) as clients:
        busy = clients.open(head_of_post(100) + b"[")
        async with session() as client:
            # The first is idle for longest from here on, the second was used since.
            first, second = clients.open(), clients.open()
            second.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.to_thread(second.recv, 12) == b"HTTP/1.1 200"
            idle = [clients.open() for _ in range(17)]
            assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), told) == 200
            assert await asyncio.to_thread(first.recv, 1) == b""
            assert not has_ended(second)
            more = [clients.open() for _ in range(40)]
            # With them goes the client's own, which then must not be used as it ends.
            await until(lambda: all(map(has_ended, [second, *idle])))
            await until(lambda: sum(map(has_ended, more)) >= 21)
            for number in range(40):
                batch = batch_of("orders", [f"e-{number}"])
                await publish_until_taken(client, aggregator.url, batch, told)
            assert not has_ended(busy)
            await check_kept(client, aggregator.url, told, ["orders"])
    assert aggregator.log_lines("too_many_connections")


async def test_where_all_connections_are_in_use_the_new_one_is_turned_away(
    run_aggregator: Run,
) -> None:
    aggregator = run_aggregator("--max-connections", "5", *FEW, "--body-timeout-ms", "3000")
    with connections(aggregator) as clients:
        busy = [clients.open(head_of_post(100) + b"[") for _ in range(5)]
        turned_away = clients.open()
        await until(lambda: has_ended(turned_away))
        assert not any(map(has_ended, busy))
        for connection in busy:
            connection.settimeout(30.0)
            assert await asyncio.to_thread(connection.recv, 12) == b"HTTP/1.1 503"
            connection.close()
        async with session() as client:
            await until_ready(client, aggregator.url)


def room_under(soft: int, hard: int) -> tuple[int, int, int]:
    """Connections, backlog and soft limit that come of 12,000 wanted under these limits."""
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from aggregator.http.fd_limit import make_room
room = make_room(12_000)
print(*room, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    written = subprocess.check_output([sys.executable, "-c", program], text=True)
    connections, backlog, limit = map(int, written.split())
    return connections, backlog, limit


def test_the_limit_on_descriptors_is_raised_as_far_as_it_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > 20_000:
        assert room_under(256, 20_000) == (12_000, 1024, 12_000 + 2 * 1024 + 64)
    assert room_under(256, 1024) == (1024 - 2 * 128 - 64, 128, 1024)
    assert room_under(256, 256) == (256 - 2 * 32 - 64, 32, 256)


_WITH_FEW = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from aggregator.__main__ import main
raise SystemExit(main())
"""


async def test_with_few_descriptors_enough_are_left_for_the_database(tmp_path: Path) -> None:
    aggregator = Aggregator.spawn([], log=tmp_path / "log", cwd=tmp_path, program=["-c", _WITH_FEW])
    try:
        await until(aggregator.listening)
        told = Told()
        with connections(aggregator) as clients:
            await asyncio.to_thread(open_many, clients, 260)
            async with session() as client:
                batch = batch_of("orders", ["e-1"])
                assert await publish(client, aggregator.url, batch, told) == 200
                await check_kept(client, aggregator.url, told, ["orders"])
        (line,) = aggregator.log_lines("connections_limited")
        assert line["connections"] == 128
    finally:
        aggregator.kill()
