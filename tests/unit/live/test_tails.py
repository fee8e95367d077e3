"""Tails: one reader a topic, woken by heads, from the log; and what becomes of it when it fails."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
import structlog
from support.stores import until

from aggregator.live import tails
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.tails import Tails
from aggregator.logging import observer_guard
from aggregator.logging.rate_limit import LogRateLimit
from storage.errors import StorageUnavailable


class Chunks:
    """Chunks of topics that have so many events."""

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.asked: list[tuple[str, int]] = []
        self.forgotten: list[str] = []
        self.error: Exception | None = None

    async def chunk(self, form: Form, topic: str, after: int, *, at_head: bool) -> LogChunk:
        assert at_head
        self.asked.append((topic, after))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        head = self.heads[topic]
        return LogChunk(after, head, head, b"x" * (head - after), form)

    def forget(self, topic: str) -> None:
        self.forgotten.append(topic)


class Follower:
    """A follower that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.reasons: list[str] = []

    def advanced(self, topic: str) -> None:
        self.told.append(topic)

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)


class Rig:
    def __init__(self) -> None:
        self.heads = HeadWatch()
        self.chunks = Chunks()
        self.tails = Tails(self.heads, cast("LogChunks", self.chunks))

    def commit(self, topic: str, head: int) -> None:
        """Events up to a head are there, and heard of."""
        self.chunks.heads[topic] = head
        self.heads.advance({topic: head})


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(tails, "_PAUSE_S", 0.0)
    rig = Rig()
    yield rig
    assert len(rig.tails) == 0
    assert not rig.heads


async def test_what_is_committed_is_read_once_for_all_followers(rig: Rig) -> None:
    followers = [Follower() for _ in range(3)]
    tail, *others = [rig.tails.follow("a", Form.BLOCKS, each) for each in followers]
    assert others == [tail, tail]
    tail.begin(5)
    rig.commit("a", 7)
    await until(lambda: tail.position == 7, "the tail")
    assert rig.chunks.asked == [("a", 5)]
    assert [each.told for each in followers] == [["a"]] * 3
    for each in followers[1:]:
        rig.tails.leave("a", Form.BLOCKS, each)
    rig.commit("a", 8)
    await until(lambda: tail.position == 8, "the tail")
    assert [each.told for each in followers] == [["a", "a"], ["a"], ["a"]]
    rig.tails.leave("a", Form.BLOCKS, followers[0])


async def test_what_comes_between_watching_and_beginning_is_noticed(rig: Rig) -> None:
    follower = Follower()
    tail = rig.tails.follow("a", Form.LINES, follower)
    rig.commit("a", 3)
    tail.begin(2)
    # Who begins later has read the head later, and changes nothing.
    tail.begin(3)
    assert tail.head == 3
    await until(lambda: tail.position == 3, "the tail")
    rig.tails.leave("a", Form.LINES, follower)


@pytest.mark.parametrize("error", [StorageUnavailable("it is gone"), RuntimeError("a mistake")])
async def test_a_store_that_fails_is_asked_again_and_a_mistake_ends_its_streams(
    rig: Rig, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_guard, "_log", structlog.get_logger())
    # There is one line a second, which another test may have had.
    monkeypatch.setattr(observer_guard, "_failures", LogRateLimit("failed", 1, level="error"))
    follower = Follower()
    tail = rig.tails.follow("a", Form.BLOCKS, follower)
    tail.begin(0)
    rig.chunks.error = error
    with structlog.testing.capture_logs() as logged:
        rig.commit("a", 1)
        if isinstance(error, RuntimeError):
            await until(lambda: bool(follower.reasons), "the end")
            assert any(line["event"] == "observer_failed" for line in logged)
        else:
            await until(lambda: len(rig.chunks.asked) > 2, "more tries")
            rig.chunks.error = None
            await until(lambda: tail.position == 1, "the tail")
            assert logged == []
            assert follower.reasons == []
    rig.tails.leave("a", Form.BLOCKS, follower)


async def test_a_log_that_was_put_back_ends_its_streams_and_nothing_of_it_is_kept(
    rig: Rig,
) -> None:
    a, b = Follower(), Follower()
    for topic, follower in (("a", a), ("b", b)):
        rig.tails.follow(topic, Form.BLOCKS, follower).begin(5)
    rig.heads.polled({"a": 5, "b": 5}, {"a": 0, "b": 0})
    # A poll that is older than what a flush has told says nothing.
    before = rig.heads.known()
    rig.heads.advance({"a": 6})
    rig.heads.polled({"a": 5, "b": 5}, before)
    assert (a.reasons, rig.chunks.forgotten) == ([], [])
    rig.heads.polled({"a": 3, "b": 5}, rig.heads.known())
    assert a.reasons == ["the log of topic 'a' was put back to an earlier state"]
    assert (b.reasons, rig.chunks.forgotten) == ([], ["a"])
    rig.tails.leave("a", Form.BLOCKS, a)
    rig.tails.leave("b", Form.BLOCKS, b)


async def test_who_comes_back_while_others_of_a_failed_tail_are_still_there_has_a_new_one(
    rig: Rig,
) -> None:
    slow, other = Follower(), Follower()
    tail = rig.tails.follow("a", Form.BLOCKS, slow)
    tail.begin(5)
    rig.heads.polled({"a": 3}, rig.heads.known())
    assert len(slow.reasons) == 1
    # Nor does the old one begin for who had it while it was opening.
    tail.begin(3)
    # Its client has not taken what was sent, so that it is still open.
    new = rig.tails.follow("a", Form.BLOCKS, other)
    assert new is not tail
    new.begin(3)
    rig.commit("a", 4)
    await until(lambda: new.position == 4, "the new tail")
    assert (other.told, slow.told, tail.position) == (["a"], [], 5)
    rig.tails.leave("a", Form.BLOCKS, slow)
    rig.commit("a", 5)
    await until(lambda: new.position == 5, "the new tail, which goes on")
    rig.tails.leave("a", Form.BLOCKS, other)
