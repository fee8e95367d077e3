"""The poll of heads: it runs while somebody waits, one at a time, and goes on after failures."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
import structlog.testing
from support.stores import until

from aggregator.live import poller
from aggregator.live.head_poller import HeadPoller
from aggregator.live.heads import HeadWatch
from aggregator.logging import observer_guard
from aggregator.logging.rate_limit import LogRateLimit
from storage.errors import StorageUnavailable
from storage.protocols import EventReader


class Heads:
    """A store that only has heads, which a test can hold back or let fail."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(sorted(topics))
        self.under_way += 1
        assert self.under_way == 1
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        return {topic: self.now.get(topic, 0) for topic in topics}


class Rig:
    """A poller that hardly pauses, on heads of the test's own."""

    def __init__(self) -> None:
        self.store = Heads()
        self.heads = HeadWatch()
        self.poller = HeadPoller(cast("EventReader", self.store), self.heads, interval_s=0.0)

    async def polled(self, more: int = 1) -> None:
        """Return once so many more polls were begun."""
        goal = len(self.store.asked) + more
        await until(lambda: len(self.store.asked) >= goal, "polls")


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(poller, "_PAUSE_S", 0.0)
    rig = Rig()
    yield rig
    await rig.poller.aclose()
    assert not rig.poller.running


async def test_it_polls_the_watched_topics_only_while_there_are_any(rig: Rig) -> None:
    assert not rig.poller.running
    with rig.heads.watching("a") as a:
        with rig.heads.watching("b"):
            await rig.polled(2)
            assert rig.store.asked[-1] == ["a", "b"]
        rig.store.now = {"a": 7, "b": 8}
        await until(lambda: a.head == 7, "the head")
        await rig.polled(2)
        assert rig.store.asked[-1] == ["a"]
    await until(lambda: not rig.poller.running, "its end")
    polls = rig.poller.polls
    assert polls == len(rig.store.asked)
    with rig.heads.watching("c"):
        await rig.polled()
        assert rig.store.asked[-1] == ["c"]


async def test_a_slow_poll_is_waited_for_and_not_overtaken(rig: Rig) -> None:
    rig.store.gate.clear()
    with rig.heads.watching("a"):
        await rig.polled()
    with rig.heads.watching("b") as b:
        # The one for the first is still under way, and its answer wakes nobody here.
        for _ in range(100):
            await asyncio.sleep(0)
        assert rig.store.asked == [["a"]]
        rig.store.now = {"a": 1, "b": 1}
        rig.store.gate.set()
        await until(lambda: b.head == 1, "the head")


@pytest.mark.parametrize("error", [StorageUnavailable("it is gone"), RuntimeError("a mistake")])
async def test_a_poll_that_fails_is_made_again(
    rig: Rig, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_guard, "_log", structlog.get_logger())
    # There is one line a second, which another test may have had.
    monkeypatch.setattr(observer_guard, "_failures", LogRateLimit("failed", 1, level="error"))
    rig.store.error = error
    rig.store.now = {"a": 1}
    with structlog.testing.capture_logs() as logged, rig.heads.watching("a") as a:
        await rig.polled(3)
        assert (rig.poller.polls, rig.poller.failures > 0, a.head) == (0, True, 0)
        rig.store.error = None
        await until(lambda: a.head == 1, "the head")
    unforeseen = not isinstance(error, StorageUnavailable)
    assert any(line["event"] == "observer_failed" for line in logged) == unforeseen


async def test_it_can_be_closed_in_the_midst_of_a_poll_and_starts_no_more(rig: Rig) -> None:
    rig.store.gate.clear()
    with rig.heads.watching("a"):
        await rig.polled()
        await rig.poller.aclose()
        assert not rig.poller.running
        assert rig.store.under_way == 0
    with rig.heads.watching("b"):
        assert not rig.poller.running


@pytest.mark.parametrize(("share", "longest"), [(1.0, 0.0), (0.1, 1.0)])
async def test_behind_a_slow_poll_it_pauses_for_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, share: float, longest: float
) -> None:
    clock = [0.0]
    pauses: list[float] = []

    async def note(pause_s: float) -> None:
        pauses.append(pause_s)
        await asyncio.sleep(0)

    class Slow(poller.Poller):
        def _wanted(self) -> bool:
            return len(pauses) < 4

        async def _ask(self) -> None:
            # The clock of the poller alone.
            clock[0] += 30.0

    monkeypatch.setattr(poller, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    scheduling = SimpleNamespace(sleep=note, create_task=asyncio.create_task)
    monkeypatch.setattr(poller, "asyncio", scheduling)
    slow = Slow("slow", share=share, interval_s=0.0)
    slow.start()
    await until(lambda: not slow.running, "its end")
    assert pauses == [0.0, longest, longest, longest]
