"""A queue that was full takes more only when there is room for a largest request."""

import pytest

from aggregator.ingest.admission import Admission, QueueFull
from aggregator.reading.read_limit import ReadLimit


def test_once_an_event_was_refused_all_are_until_a_largest_request_fits() -> None:
    admission = Admission(max_events=10, max_bytes=100, max_batch_events=4)
    admission.reserve(events=8)
    admission.check()
    with pytest.raises(QueueFull, match="8 events wait, at most 10"):
        admission.reserve(events=3)
    with pytest.raises(QueueFull, match="8 events wait; it takes more when 6 do"):
        admission.check()
    admission.release(events=1, size=0)
    with pytest.raises(QueueFull, match="7 events wait; it takes"):
        admission.check()
    admission.release(events=1, size=0)
    admission.check()
    admission.reserve(events=4)


def test_what_is_being_read_already_may_still_take_the_room_there_is() -> None:
    admission = Admission(max_events=10, max_bytes=100, max_batch_events=4)
    admission.reserve(events=8)
    with pytest.raises(QueueFull):
        admission.reserve(events=3)
    admission.reserve(events=2)
    assert admission.events == 10


def test_a_refusal_for_bytes_closes_nothing() -> None:
    admission = Admission(max_events=10, max_bytes=100, max_batch_events=4)
    admission.reserve(events=8, size=99)
    with pytest.raises(QueueFull, match="99 bytes"):
        admission.reserve(size=2)
    admission.check()


def test_as_many_reads_as_may_be_and_no_more() -> None:
    reads = ReadLimit(2)
    with reads:
        with reads, pytest.raises(QueueFull, match="2 reads"):
            reads.__enter__()
        with reads:
            assert reads.under_way == 2
    assert reads.under_way == 0
