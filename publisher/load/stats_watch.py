"""Polls /stats while the events are sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from publisher.load.read_back import Reader, ReadFailed
from publisher.load.stats_check import StatsCheck
from publisher.load.verdict_check import VerdictCheck

_INTERVAL_S = 1.0


@asynccontextmanager
async def watch_stats(
    reader: Reader, check: StatsCheck, verdicts: VerdictCheck
) -> AsyncIterator[None]:
    """Check /stats once a second for as long as the context lasts.

    Args:
        reader: a reader without retries, since there is nothing to check while the aggregator does
            not answer.
        check: the check of each response.
        verdicts: the verdicts so far, whose events each response must count.
    """
    task = asyncio.create_task(_watch(reader, check, verdicts))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _watch(reader: Reader, check: StatsCheck, verdicts: VerdictCheck) -> None:
    while True:
        await asyncio.sleep(_INTERVAL_S)
        # Read before the request: only events answered by then are certain to be counted.
        acknowledged = verdicts.acknowledged
        try:
            stats = await reader.stats()
        except ReadFailed:
            check.missed += 1
        else:
            check.check(stats, acknowledged)
