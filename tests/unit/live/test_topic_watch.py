"""The watch of topics, and the poll by which those of other aggregators are noticed."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import pytest
from support.stores import until

from aggregator.live import topic_watch
from aggregator.live.topic_poller import TopicPoller
from aggregator.live.topic_watch import TopicWatch
from storage.model import Status
from storage.protocols import EventReader
from storage.topic_patterns import TopicSelection

_PAGE = 2


class Names:
    """A store that only has topics."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.asked: list[str] = []

    async def heads_by_prefix(self, prefix: str, *, after: str | None = None) -> Mapping[str, int]:
        self.asked.append(prefix)
        names = sorted(
            name for name in self.now if name.startswith(prefix) and name > (after or "")
        )
        return dict.fromkeys(names[:_PAGE], 1)


@contextmanager
def watching(
    topics: TopicWatch, wanted: TopicSelection, found: Callable[[str], object]
) -> Iterator[None]:
    key = topics.watch(wanted, found)
    yield
    topics.unwatch(key)


@pytest.fixture
async def polled(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Names, TopicWatch]]:
    monkeypatch.setattr("aggregator.live.topic_listing.TOPICS_PER_PAGE", _PAGE)
    names, topics = Names(), TopicWatch()
    poller = TopicPoller(cast("EventReader", names), topics, interval_s=0.0)
    yield names, topics
    await poller.aclose()
    assert not poller.running


def test_each_topic_that_fits_is_told_once_to_who_follows_its_pattern() -> None:
    topics = TopicWatch()
    found: list[str] = []
    other: list[str] = []
    with watching(topics, TopicSelection(["a.*"]), found.append):
        with watching(topics, TopicSelection(["**", "b"]), other.append):
            assert topics.prefixes == ("",)
            topics.observe({("a.1", Status.STORED), ("b", Status.DUPLICATE)})
            topics.found(["a.1", "b"])
            assert (found, sorted(other)) == (["a.1"], ["a.1", "b"])
        assert topics.prefixes == ("a.",)
    assert len(topics) == 0
    # Nothing is remembered for nobody: who comes lists what is there.
    with watching(topics, TopicSelection(["a.*"]), found.append):
        topics.found(["a.1"])
    assert found == ["a.1", "a.1"]


def test_names_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_watch, "_MAX_SEEN", 10)
    topics = TopicWatch()
    found: list[str] = []
    names = [f"t-{number}" for number in range(25)]
    with watching(topics, TopicSelection(["**"]), found.append):
        topics.found(names)
        assert found == names
        assert len(topics._seen) <= 10


async def test_the_poll_reads_every_page_of_the_prefixes_that_are_followed(
    polled: tuple[Names, TopicWatch],
) -> None:
    names, topics = polled
    names.now = ["a.1", "a.2", "a.3", "b.1", "c"]
    found: list[str] = []
    assert names.asked == []
    with watching(topics, TopicSelection(["a.*", "b.**", "a.1.*"]), found.append):
        await until(lambda: len(found) >= 4, "four topics")
        assert found == ["a.1", "a.2", "a.3", "b.1"]
        names.now.append("b.2")
        await until(lambda: len(found) >= 5, "a fifth")
        assert found[-1] == "b.2"
    assert set(names.asked) == {"a.", "b."}
