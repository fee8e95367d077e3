"""Publishing beside waits: what 1,000 clients that wait for the next event cost a publisher."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.client_result import NotServed
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through
from benchmarks.serving import OWN_CHECKOUT, aggregator
from benchmarks.workload import Batch, Row

WAITS = 1_000
"""The number of clients that wait: as many as the server lets wait by default."""

QUIET = [f"quiet-{number}" for number in range(8)]
"""Topics with one event each, to which nothing is published while they are waited for."""


async def publish(make: MakeDatabase, sent: Sent, checkout: Path = OWN_CHECKOUT) -> Measured:
    """Measure publishing into an empty database.

    Args:
        make: makes the database.
        sent: the events.
        checkout: the checkout whose aggregator it is.

    Raises:
        WrongCounts: other events were counted than were sent.
    """
    async with make() as database:
        with aggregator(database.arguments, checkout) as server:
            measured, _ = await through([server], sent)
            await check(server.port, sent.events, sent.new)
    return measured


async def publish_beside_waits(
    make: MakeDatabase, sent: Sent, topics: Sequence[str], waits: int = WAITS
) -> Measured:
    """Measure publishing into a database while clients wait for events.

    Args:
        make: makes the database.
        sent: the events.
        topics: the topics that are waited for, `QUIET` or those that are published to.
        waits: the number of clients.

    Raises:
        NotServed: the server knows no waits.
        WrongCounts: other events were counted than were sent, a wait was given up, or one for a
            topic was answered with events that are not there.
    """
    quiet = Sent.of(sent.workload, [_one_each(QUIET)])
    async with make() as database:
        with aggregator(database.arguments) as server:
            await through([server], Sent.of(sent.workload, [quiet.batches[0]] * 2))
            async with open_waits(server.port, waits, topics) as counts:
                measured, _ = await through([server], sent)
            await check(server.port, 2 * quiet.events + sent.events, quiet.new + sent.new)
    if counts["open"] < waits and topics == QUIET:
        raise WrongCounts(f"{counts['open']} waits are open, not {waits}")
    if bool(counts["events"]) is (topics == QUIET):
        raise WrongCounts(f"waits for {', '.join(topics)} were answered {counts['events']} events")
    return measured._replace(
        reads_s=counts["answered"] * measured.events_s / sent.events,
        refused=measured.refused + counts["refused"],
    )


def _one_each(topics: Sequence[str]) -> Batch:
    return Batch(
        [Row(topic, "only", 1_700_000_000_000_000, "benchmark", "{}") for topic in topics],
        len(topics),
    )


@asynccontextmanager
async def open_waits(port: int, waits: int, topics: Sequence[str]) -> AsyncIterator[dict[str, int]]:
    """Keep clients waiting while the context lasts.

    Args:
        port: of the server.
        waits: the number of clients.
        topics: the topics, which they share.

    Yields:
        What is empty until the context ends: how many waits are `open` then, how many were
        `answered`, with how many `events`, and how many were `refused` and begun again.

    Raises:
        NotServed: the server knows no waits.
    """
    counts: dict[str, int] = {}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.waiting_client", str(port), str(waits), *topics),
        cwd=OWN_CHECKOUT,
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        said = await _said(process)
        if "not_served" in said:
            raise NotServed(said["not_served"])
        yield counts
        if process.stdin is not None:
            process.stdin.close()
        counts.update(await _said(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _said(process: Process) -> dict[str, Any]:
    if process.stdout is None:
        raise RuntimeError("the process has no output")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the clients that wait have ended")
    said: dict[str, Any] = json.loads(line)
    return said
