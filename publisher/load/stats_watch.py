"""Looks at /stats while the events are sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from publisher.load.read_back import Reader, ReadFailed
from publisher.load.stats_check import StatsSeen
from publisher.load.verdict_check import Told

_EVERY_S = 1.0


@asynccontextmanager
async def watching(reader: Reader, seen: StatsSeen, told: Told) -> AsyncIterator[None]:
    """Check /stats once a second for as long as the context lasts.

    reader: one without patience; while the aggregator does not answer there is nothing to check.
    """
    watch = asyncio.create_task(_watch(reader, seen, told))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])
    if not watch.cancelled():
        watch.result()


async def _watch(reader: Reader, seen: StatsSeen, told: Told) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        answered = told.events - told.rejected
        try:
            stats = await reader.stats()
        except ReadFailed:
            seen.missed += 1
        else:
            seen.take(stats, answered)
