"""The watch of heads: who is woken by what, and that nothing stays behind."""

from support.scripted_log import TOPIC

from aggregator.live.heads import HeadWatch
from storage.model import Status, Verdict


def verdicts(*told: tuple[str, Status, int]) -> list[Verdict]:
    return [Verdict(topic, f"e-{offset}", status, offset) for topic, status, offset in told]


def observe(heads: HeadWatch, *told: tuple[str, Status, int]) -> None:
    heads.observe(verdicts(*told), {(topic, status) for topic, status, _ in told})


def test_a_topic_is_watched_as_long_as_anybody_wants_it() -> None:
    heads = HeadWatch()
    begun: list[int] = []
    heads.on_first = lambda: begun.append(len(heads))
    assert not heads
    with heads.watching("a") as first, heads.watching("b"):
        with heads.watching("a") as second:
            assert second is first
        assert sorted(heads.topics) == ["a", "b"]
    assert not heads
    assert begun == [1]
    with heads.watching("a") as again:
        assert again.head == 0
    assert begun == [1, 1]


def test_a_flush_advances_the_watched_topics_that_it_stored_to() -> None:
    heads = HeadWatch()
    with heads.watching("a") as a, heads.watching("b") as b, heads.watching("c") as c:
        observe(
            heads,
            ("a", Status.STORED, 4),
            ("b", Status.DUPLICATE, 9),
            ("a", Status.STORED, 5),
            ("other", Status.STORED, 7),
            ("a", Status.CONFLICT, 1),
            ("c", Status.STORED, 1),
            ("c", Status.DUPLICATE, 1),
        )
        assert (a.head, b.head, c.head) == (5, 0, 1)
        observe(heads)
        assert (a.head, b.head, c.head) == (5, 0, 1)


async def test_sleepers_wake_when_the_head_is_above_their_offset() -> None:
    heads = HeadWatch()
    with heads.watching(TOPIC) as topic, topic.sleeper(3) as low, topic.sleeper(4) as high:
        heads.advance({TOPIC: 3})
        assert not low.done()
        heads.advance({TOPIC: 4, "other": 100})
        assert (low.done(), high.done()) == (True, False)
        heads.advance({TOPIC: 2})
        assert topic.head == 4
        heads.advance({TOPIC: 5})
        assert high.done()
        with topic.sleeper(4) as late:
            assert late.done()
