"""What the contract's tests share."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from support.tasks import StartSoon


@pytest.fixture
async def start_soon() -> AsyncIterator[StartSoon]:
    """Runs a coroutine beside the test: `start_soon(publish(...))`; none outlives it."""
    tasks: list[asyncio.Task[Any]] = []

    def start(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        tasks.append(asyncio.create_task(coroutine))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
