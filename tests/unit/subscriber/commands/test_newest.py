"""The newest events of each topic, in the order in which they came."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from subscriber.commands.following.newest import Newest
from subscriber.events import Event

NOW = datetime(2026, 1, 31, tzinfo=UTC)


@given(st.integers(1, 4), st.lists(st.sampled_from("abc"), max_size=30))
def test_as_many_of_each_topic_as_wanted_come_in_their_order(count: int, topics: list[str]) -> None:
    newest = Newest(count)
    came = []
    for number, topic in enumerate(topics, 1):
        event = Event(topic, str(number), NOW, "shop", {}, topics[:number].count(topic), NOW, b"")
        newest.hold(event, str(number))
        came.append((event, str(number)))
    expected = [
        (event, position)
        for event, position in came
        if event.offset > topics.count(event.topic) - count
    ]
    assert list(newest.release()) == expected
    assert list(newest.release()) == []
