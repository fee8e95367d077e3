"""The decision about a batch equals the one a naive reading of the contract gives."""

from hypothesis import given
from hypothesis import strategies as st
from support.events import event
from support.reference import Reference
from support.strategies import pools

from storage.deduplication import BatchDeduplicator, Head
from storage.model import Counts, Event, Status

_TIME_US = 7


@given(st.data())
def test_a_batch_on_top_of_any_log_is_decided_as_the_contract_says(data: st.DataObject) -> None:
    pool = data.draw(pools())
    reference = Reference()
    for _ in range(data.draw(st.integers(0, 2))):
        reference.publish(data.draw(pool.batches()))
    before = reference.counts()
    heads = {topic: Head(before.get(topic, (0, 0))[1], _TIME_US) for topic in pool.topics}
    batch = data.draw(pool.batches())

    deduplicator = BatchDeduplicator(batch)
    for topic, event_id in deduplicator.keys:
        if (found := reference.find(topic, event_id)) is not None:
            offset, first = found
            deduplicator.add_stored((topic, event_id), offset, first.source, first.payload)
    decision = deduplicator.decide(heads)

    told = [(v.topic, v.event_id, v.status.value, v.offset) for v in decision.verdicts]
    assert told == reference.publish(batch)
    new = [
        (e.topic, v.offset, e)
        for e, v in zip(batch, decision.verdicts, strict=True)
        if v.status is Status.STORED
    ]
    assert [
        (r.topic, r.offset, Event(r.topic, r.event_id, r.timestamp_us, r.source, r.payload))
        for r in decision.rows
    ] == new
    assert {row.ts_ingest_us for row in decision.rows} <= {_TIME_US}
    after = {
        topic: tuple(
            a + b
            for a, b in zip(
                before.get(topic, (0, 0, 0, 0)),
                (c.received, c.unique_processed, c.duplicate_dropped, c.conflicts),
                strict=True,
            )
        )
        for topic, c in decision.counts.items()
    }
    assert before | after == reference.counts()


@given(st.data())
def test_topics_are_locked_in_byte_order_and_each_key_is_looked_for_once(
    data: st.DataObject,
) -> None:
    batch = data.draw(data.draw(pools()).batches())
    deduplicator = BatchDeduplicator(batch)
    assert deduplicator.topics == sorted({e.topic for e in batch}, key=str.encode)
    keys = list(deduplicator.keys)
    assert len(keys) == len(set(keys))
    assert set(keys) == {(e.topic, e.event_id) for e in batch}


def test_counts_of_a_batch_of_repeats_only() -> None:
    deduplicator = BatchDeduplicator([event("t", "x"), event("t", "x", '{"n":1}')])
    deduplicator.add_stored(("t", "x"), 5, "shop", "{}")
    decision = deduplicator.decide({"t": Head(9, _TIME_US)})
    assert [(v.status, v.offset) for v in decision.verdicts] == [
        (Status.DUPLICATE, 5),
        (Status.CONFLICT, 5),
    ]
    assert decision.rows == []
    assert decision.counts == {"t": Counts(2, 0, 2, 1)}


def test_a_repeat_is_compared_with_the_stored_event_not_with_its_neighbour() -> None:
    deduplicator = BatchDeduplicator([event("t", "x", '{"n":1}'), event("t", "x", '{"n":1}')])
    deduplicator.add_stored(("t", "x"), 1, "shop", '{"n":2}')
    verdicts = deduplicator.decide({"t": Head(1, _TIME_US)}).verdicts
    assert [v.status for v in verdicts] == [Status.CONFLICT, Status.CONFLICT]


def test_only_texts_that_differ_have_to_be_read_to_be_compared() -> None:
    short, long = '{"n":1}', '{"n": 10}'
    deduplicator = BatchDeduplicator(
        [*(event("t", "x", text) for text in (short, long, short)), event("t", "y")]
    )
    assert deduplicator.characters_to_compare(("t", "x"), short) == len(long) + len(short)
    assert (
        deduplicator.characters_to_compare(("t", "x"), "[]") == 2 * len(short) + len(long) + 3 * 2
    )
    assert deduplicator.characters_to_compare(("t", "y"), "{}") == 0
    # The first of its kind is what the others are compared with.
    assert deduplicator.characters_to_decide() == len(long) + len(short)
    assert BatchDeduplicator([event("t", "x"), event("t", "x", short)]).characters_to_decide() == 9
