"""Admission: exact bounds, and room that always comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ingest.admission import Admission, QueueFull

MAX_EVENTS, MAX_BYTES = 10, 100
CLAIMS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 120)), max_size=40
)


def test_exactly_the_bound_is_admitted_and_one_more_is_not() -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    with admission.reservation() as reservation:
        reservation.reserve(events=MAX_EVENTS, size=MAX_BYTES)
        other = admission.reservation()
        with pytest.raises(QueueFull, match="10 events"):
            other.reserve(events=1)
        with pytest.raises(QueueFull, match="100 bytes"):
            other.reserve(size=1)
        with pytest.raises(QueueFull):
            admission.check()
    admission.check()


def overreach(admission: Admission) -> None:
    with admission.reservation() as reservation:
        reservation.reserve(size=60)
        reservation.reserve(events=3, size=40)
        reservation.reserve(events=8)


def test_a_ticket_gives_back_what_it_took_when_its_request_fails() -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    with pytest.raises(QueueFull):
        overreach(admission)
    assert (admission.events, admission.bytes) == (0, 0)


def test_looking_takes_nothing() -> None:
    admission = Admission(max_events=1, max_bytes=1)
    for _ in range(3):
        admission.check()
    assert (admission.events, admission.bytes) == (0, 0)


@given(CLAIMS)
def test_room_is_what_the_open_tickets_hold_and_never_more_than_there_is(
    claims: list[tuple[int, int, int]],
) -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    reservations = [admission.reservation() for _ in range(4)]
    held = [[0, 0] for _ in reservations]
    for who, events, size in claims:
        if who == len(reservations):
            for reservation, claim in zip(reservations[:2], held[:2], strict=True):
                reservation.__exit__()
                claim[:] = [0, 0]
            continue
        total = [sum(claim[i] for claim in held) for i in range(2)]
        fits = total[0] + events <= MAX_EVENTS and total[1] + size <= MAX_BYTES
        try:
            reservations[who].reserve(events=events, size=size)
        except QueueFull:
            assert not fits
        else:
            assert fits
            held[who] = [held[who][0] + events, held[who][1] + size]
        assert admission.events == sum(claim[0] for claim in held)
        assert admission.bytes == sum(claim[1] for claim in held)
    for reservation in reservations:
        reservation.__exit__()
    assert (admission.events, admission.bytes) == (0, 0)


def test_a_claim_of_events_is_none_of_bytes_and_the_other_way_round() -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    admission.reserve(events=2)
    assert (admission.events, admission.bytes) == (2, 0)
    admission.reserve(size=3)
    assert (admission.events, admission.bytes) == (2, 3)
    with admission.reservation() as reservation:
        for _ in range(2):
            reservation.reserve(events=1)
            reservation.reserve(size=5)
        assert (admission.events, admission.bytes) == (4, 13)
    assert (admission.events, admission.bytes) == (2, 3)


def test_open_again_it_is_open_until_it_is_full_again() -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES, max_batch_events=4)
    with pytest.raises(QueueFull):
        admission.reserve(events=MAX_EVENTS + 1)
    admission.check()
    admission.reserve(events=MAX_EVENTS - 1)
    admission.check()


def test_where_a_request_is_one_event_room_for_one_is_enough_to_open_again() -> None:
    admission = Admission(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    admission.reserve(events=MAX_EVENTS)
    with pytest.raises(QueueFull):
        admission.check()
    admission.release(events=1, size=0)
    admission.check()
