"""The head offsets of many topics at once."""

from support.events import event

from storage.protocols import EventStore


async def test_heads_are_those_of_the_topics_asked_for_and_0_where_nothing_is_stored(
    store: EventStore,
) -> None:
    await store.append([event("a", "1"), event("a", "2"), event("b.c-d_e", "1"), event("z", "1")])
    await store.append([event("a", "2"), event("z", "2")])
    assert await store.heads(["z", "a", "new", "a", "b.c-d_e"]) == {
        "a": 2, "b.c-d_e": 1, "new": 0, "z": 2,
    }  # fmt: skip
    assert await store.heads([]) == {}


async def test_heads_of_a_thousand_topics_come_in_one_answer(store: EventStore) -> None:
    topics = [f"t-{number}" for number in range(1000)]
    await store.append([event(topic, "1") for topic in topics[::2]])
    found = await store.heads(topics)
    assert [found[topic] for topic in topics] == [1, 0] * 500
