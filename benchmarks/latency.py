"""Latency: single publishes at half of the highest load, beside the bare handler at the same load.

The highest load is that of a closed loop over 64 connections, measured in the same round. Half of
it is then offered to the aggregator, in an open loop over 256, and the same requests at the same
times to a bare handler. All connections have had an answer before the first request is due.
"""

from collections.abc import Sequence

from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.driving import get
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through, timed
from benchmarks.open_loop import arrivals, offer
from benchmarks.rounds import Part, Setting
from benchmarks.serving import Server, aggregator, bare_handler
from benchmarks.standard import SINGLE, single_events

BACKENDS = ("SQLite", "Postgres")

_CONNECTIONS = 256
_GREETING = get("/")
"""A path that neither server has: both answer 404."""


def highest_load(backend: str) -> str:
    """Return the name of the closed loop."""
    return f"{backend}, highest load"


def half_load(backend: str) -> str:
    """Return the name of the open loop at half of its load."""
    return f"{backend}, half of it"


def handler_at(backend: str) -> str:
    """Return the name of the bare handler at that load."""
    return f"bare aiohttp handler, half of the highest load of {backend}"


async def measure(setting: Setting) -> Part:
    """Measure each backend, and the bare handler at its load, once a round."""
    part = Part(setting.say)
    for number in range(setting.rounds):
        for backend, make in zip(BACKENDS, (sqlite_file, setting.postgres), strict=True):
            await _round(part, backend, make, single_events(setting.events), seed=number)
    return part


async def _round(part: Part, backend: str, make: MakeDatabase, events: int, seed: int) -> None:
    closed, opened = Sent.make(SINGLE, events), Sent.make(SINGLE, events)
    async with make() as database:
        with aggregator(database.arguments) as server:
            highest, _ = await through([server], closed)
            due_s = arrivals(highest.events_s / 2, opened.events, seed)
            half = _offered(server, opened.requests, due_s)
            await check(server.port, closed.events + opened.events, closed.new + opened.new)
    with bare_handler() as server:
        # As warm as the aggregator.
        await through([server], closed)
        handler = _offered(server, opened.requests, due_s)
    part.add(highest_load(backend), highest)
    part.add(half_load(backend), half)
    part.add(handler_at(backend), handler)


def _offered(server: Server, requests: Sequence[bytes], due_s: Sequence[float]) -> Measured:
    offered = offer(server.port, requests, due_s, _CONNECTIONS, _GREETING)
    if set(offered.statuses) != {200}:
        raise WrongCounts(f"answers at half of the highest load were {dict(offered.statuses)}")
    late = timed(0.0, offered.late_s)
    measured = timed(len(requests) / offered.seconds, offered.latencies_s)
    return measured._replace(late_p99_ms=late.p99_ms)
