"""Sleepers: woken one at a time, and by the clock."""

import asyncio

import uvloop

from aggregator.subscriptions.wakeups import Sleepers


async def test_the_first_that_came_is_woken_first_and_each_once() -> None:
    sleepers = Sleepers()
    first, second, third = sleepers.add(), sleepers.add(), sleepers.add()
    sleepers.wake()
    assert [each.done() for each in (first, second, third)] == [True, False, False]
    sleepers.wake()
    assert [each.done() for each in (first, second, third)] == [True, True, False]
    sleepers.remove(third)
    sleepers.wake()
    assert not third.done()
    assert len(sleepers) == 2
    assert sleepers.wakes == 3


async def test_all_can_be_woken() -> None:
    sleepers = Sleepers()
    asleep = [sleepers.add() for _ in range(3)]
    sleepers.wake_all()
    assert all(each.done() for each in asleep)


async def test_the_clock_wakes_the_first_at_the_earliest_time() -> None:
    sleepers = Sleepers()
    first, second = sleepers.add(), sleepers.add()
    sleepers.wake_in(3600)
    sleepers.wake_in(0)
    sleepers.wake_in(1800)
    await asyncio.wait_for(first, 30)
    assert not second.done()


async def test_the_clock_wakes_nobody_once_all_are_gone() -> None:
    sleepers = Sleepers()
    sleepers.wake_in(0)
    sleepers.remove(sleepers.add())
    for _ in range(5):
        await asyncio.sleep(0)
    assert sleepers.wakes == 0


def test_a_time_that_is_past_wakes_at_once_whatever_the_loop() -> None:
    async def sleep() -> None:
        sleepers = Sleepers()
        sleeper = sleepers.add()
        sleepers.wake_in(-1)
        sleepers.wake_in(3600)
        await asyncio.wait_for(sleeper, 30)
        sleepers.remove(sleeper)

    # The loop that the aggregator has; its handle of a time that is past has no `when`.
    uvloop.run(sleep())
