"""A commit between any steps of a wait wakes it, for the head is watched before the read."""

import asyncio

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.scripted_log import TOPIC, MakeReads, MakeWait, ScriptedLog

from aggregator.live.shared_reads import SharedPage, SharedReads
from aggregator.live.waits import Wait
from storage.model import Query

STEPS = ["wait", "again", "commit", "observe", "snapshot", "answer", "cancel", "rest"]
"""`wait` is for the next event, `again` from the place of the last; for the others see
`ScriptedLog`. Behind `rest`, none may sleep beside an event."""

EXAMPLES = settings(max_examples=max(300, settings().max_examples))
drawn = given(st.lists(st.sampled_from(STEPS), max_size=40))


class WatchesAfterTheRead(Wait):
    """It reads, and only then begins to watch."""

    async def page(self, query: Query, topic: str) -> SharedPage:
        page = await self._reads.page(query, topic)
        if page.count:
            return page
        with self._heads.watching(topic) as watched:
            await self._sleep(watched, max(query.after, page.head or 0))
        return await self._reads.page(query, topic)


class DoesNotWatch(SharedReads):
    """Its reads leave it to those who wait for them to watch the topic."""

    async def _read_in_turn(self, query: Query, _topic: str) -> SharedPage:
        try:
            page = await self._read(query)
            return SharedPage(page.parts, page.count, page.next, page.head)
        finally:
            del self._under_way[query]


async def missed(
    steps: list[str], make_reads: MakeReads = SharedReads, make_wait: MakeWait = Wait
) -> list[int]:
    """The places of waits that sleep beside an event, once all that is under way is done."""
    log = ScriptedLog(make_reads, make_wait)
    found: list[int] = []
    place = 0
    for step in [*steps, "rest"]:
        if step in {"wait", "again"}:
            place = log.committed if step == "wait" else place
            log.wait(place)
        elif step == "rest":
            await log.rest()
            found += log.missed()
        else:
            getattr(log, step)()
        await log.settle()
    await log.aclose()
    assert not log.heads.topics
    return found


@EXAMPLES
@drawn
def test_watched_before_the_read_no_commit_is_missed(steps: list[str]) -> None:
    assert asyncio.run(missed(steps)) == []


async def test_watched_after_the_read_a_commit_is_missed() -> None:
    # The read has seen nothing; the event comes, and nobody watches yet.
    steps = ["wait", "snapshot", "commit", "observe", "answer"]
    assert await missed(steps) == []
    assert await missed(steps, make_wait=WatchesAfterTheRead) == [0]


async def test_a_shared_read_that_does_not_watch_lets_a_commit_be_missed() -> None:
    # The read of somebody who has left is joined by somebody who came after the commit.
    steps = ["wait", "snapshot", "cancel", "commit", "observe", "again", "answer"]
    assert await missed(steps) == []
    assert await missed(steps, make_reads=DoesNotWatch) == [0]


def test_drawn_steps_find_that_the_head_is_watched_after_the_read() -> None:
    @settings(EXAMPLES, phases=[Phase.generate])
    @drawn
    def holds(steps: list[str]) -> None:
        assert asyncio.run(missed(steps, make_wait=WatchesAfterTheRead)) == []

    with pytest.raises(AssertionError):
        holds()


async def test_a_wait_is_woken_by_its_own_topic_alone() -> None:
    log = ScriptedLog()
    log.wait(0)
    await log.rest()
    log.heads.advance({"other": 5})
    await log.settle()
    assert not log.asked
    log.heads.advance({TOPIC: 1})
    await log.settle()
    assert len(log.asked) == 1
    await log.aclose()
