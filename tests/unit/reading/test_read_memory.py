"""Memory for reads is given out in turn, and bounded."""

import asyncio

import pytest

from aggregator.ingest.admission import QueueFull
from aggregator.reading.read_memory import ReadMemory


class Reader:
    """Holds memory until it is told to let go."""

    def __init__(self, memory: ReadMemory, size: int) -> None:
        self.holds = False
        self._done = asyncio.Event()
        self._memory, self._size = memory, size

    async def run(self) -> None:
        async with self._memory.reserve(self._size):
            self.holds = True
            await self._done.wait()
        self.holds = False

    def let_go(self) -> None:
        self._done.set()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_is_held_than_there_is_and_turns_are_kept() -> None:
    memory = ReadMemory(10)
    readers = [Reader(memory, size) for size in (6, 4, 5, 1)]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    await settle()
    assert [reader.holds for reader in readers] == [True, True, False, False]
    readers[1].let_go()
    await settle()
    # The last one would find room, and does not pass the one before it.
    assert [reader.holds for reader in readers] == [True, False, False, False]
    readers[0].let_go()
    await settle()
    assert [reader.holds for reader in readers] == [False, False, True, True]
    assert memory.bytes == 6
    for reader in readers:
        reader.let_go()
    await asyncio.gather(*tasks)
    assert memory.bytes == 0


async def test_one_that_needs_more_than_there_is_goes_alone() -> None:
    memory = ReadMemory(10)
    small, large, other = Reader(memory, 1), Reader(memory, 30), Reader(memory, 1)
    tasks = [asyncio.create_task(reader.run()) for reader in (small, large, other)]
    await settle()
    assert (small.holds, large.holds, other.holds) == (True, False, False)
    small.let_go()
    await settle()
    assert (large.holds, other.holds) == (True, False)
    large.let_go()
    await settle()
    assert other.holds
    other.let_go()
    await asyncio.gather(*tasks)


async def test_those_that_wait_in_vain_are_refused_and_keep_nobody() -> None:
    memory = ReadMemory(10, max_wait_s=0.05)
    first = Reader(memory, 5)
    task = asyncio.create_task(first.run())
    await settle()
    waiting = [asyncio.create_task(Reader(memory, size).run()) for size in (6, 7, 9)]
    for each in waiting:
        with pytest.raises(QueueFull, match=r"hold 5 bytes.*at most 10.*0\.05 seconds for [679]"):
            await each
    assert memory.refused == 3
    behind = Reader(memory, 5)
    behind_task = asyncio.create_task(behind.run())
    await settle()
    assert behind.holds
    first.let_go()
    behind.let_go()
    await asyncio.gather(task, behind_task)
    assert memory.bytes == 0


async def test_one_that_gives_up_lets_those_behind_it_go_on() -> None:
    memory = ReadMemory(10)
    first, behind = Reader(memory, 5), Reader(memory, 5)
    task = asyncio.create_task(first.run())
    await settle()
    large = asyncio.create_task(Reader(memory, 6).run())
    behind_task = asyncio.create_task(behind.run())
    await settle()
    assert (first.holds, behind.holds) == (True, False)
    large.cancel()
    await settle()
    assert (first.holds, behind.holds) == (True, True)
    first.let_go()
    behind.let_go()
    await asyncio.gather(task, behind_task)
    assert memory.bytes == 0


async def test_one_that_is_cancelled_keeps_nothing() -> None:
    memory = ReadMemory(10)
    first, second = Reader(memory, 10), Reader(memory, 10)
    tasks = [asyncio.create_task(first.run()), asyncio.create_task(second.run())]
    await settle()
    first.let_go()
    await settle()
    assert second.holds
    third = asyncio.create_task(Reader(memory, 10).run())
    await settle()
    # Its turn comes, and it is cancelled, in the same moment.
    second.let_go()
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.gather(*tasks, third, return_exceptions=True)
    assert memory.bytes == 0
    assert memory.refused == 0
