"""Waits in the real process: they do not hold up its end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
from support.load import session, until_answer
from support.processes import Aggregator

Run = Callable[..., Aggregator]


async def test_waits_are_answered_when_the_signal_comes(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--database", str(tmp_path / "events.db"))

    async def wait(client: aiohttp.ClientSession, number: int) -> tuple[int, str, list[str]]:
        url = f"{aggregator.url}/events?topic=t-{number}&after=0"
        async with client.get(url, headers={"Prefer": "wait=60"}) as response:
            return response.status, response.headers["Connection"], await response.json()

    async with session() as client:
        waiting = [asyncio.create_task(wait(client, number)) for number in range(20)]
        await until_answer(client, f"{aggregator.url}/metrics", 200, "aggregator_waits 20.0")
        assert await asyncio.to_thread(aggregator.stop) == 0
        assert await asyncio.gather(*waiting) == [(200, "close", [])] * 20
    assert b"Traceback" not in aggregator.written()
