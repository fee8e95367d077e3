"""What is to be settled of a lease is cut into requests that an aggregator takes."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriber.calls.http import _members
from subscriber.calls.requests import Delivered, Range, Settle
from subscriber.consuming.unsent import Group, Unsent
from subscriber.delivery import Delivery, Fate

MAX_BYTES = 1024 * 1024
MAX_ENTRIES = 10_000
LONG = "t" * 255


def deliveries(*places: tuple[str, int]) -> list[Delivery]:
    """Deliveries of a lease, that nobody settles."""
    holder: Any = None
    return [Delivery(holder, Delivered(topic, offset, 1, b"{}")) for topic, offset in places]


def group(
    members: Sequence[Delivery],
    fate: Fate,
    error: str | None = None,
    future: "asyncio.Future[None] | None" = None,
) -> Group:
    """Deliveries that share what becomes of them."""
    return Group(members, fate, None, error, future)


def requests(unsent: Unsent) -> Iterator[tuple[Settle, list[Group]]]:
    """All requests that are made of what is unsent."""
    while unsent:
        yield unsent.take()


def named(ranges: Sequence[Range]) -> list[tuple[str, int]]:
    """The events of ranges of one event each."""
    assert all(first == last for _, first, last in ranges)
    return [(topic, first) for topic, first, _ in ranges]


def check_size(settle: Settle) -> None:
    """Check that an aggregator takes a request, with a lease's text as long as it may be."""
    body = {"consumer": "c" * 256, "settle": _members(settle._replace(lease="l" * 12_000))}
    assert len(json.dumps(body)) < MAX_BYTES
    assert sum(map(len, (settle.ack, settle.retry, settle.dead, settle.release))) <= MAX_ENTRIES


@pytest.mark.parametrize("fate", [Fate.ACK, Fate.RETRY, Fate.DEAD, Fate.RELEASE])
def test_ten_thousand_events_of_long_topics_are_cut(fate: Fate) -> None:
    places = [(f"{LONG[:-2]}{number % 32:02}", 2**62 + 2 * number) for number in range(10_000)]
    every = deliveries(*places)
    unsent = Unsent("l", every, keeps_order=False)
    unsent.put(group(every, fate))
    sent: list[tuple[str, int]] = []
    for settle, _ in requests(unsent):
        check_size(settle)
        sent += named(settle.ack) + named(settle.release)
        sent += [(each.topic, each.offset) for each in settle.retry]
        sent += [(each.topic, each.offset) for each in settle.dead]
    assert sorted(sent) == sorted(places)


def test_acknowledgements_of_short_and_long_topics_are_cut() -> None:
    """By their mean size the long ones would not fit, which come together."""
    places = [("s", 2 * number) for number in range(6_800)]
    places += [(LONG, 2**62 + 2 * number) for number in range(3_200)]
    every = deliveries(*places)
    unsent = Unsent("l", every, keeps_order=False)
    unsent.put(group(every, Fate.ACK))
    sent: list[tuple[str, int]] = []
    for settle, _ in requests(unsent):
        check_size(settle)
        sent += named(settle.ack)
    assert sorted(sent) == sorted(places)


@pytest.mark.parametrize("error", ["\0" * 9000, "\N{GRINNING FACE}" * 9000, "\ud800" * 9000, "x"])
def test_errors_that_grow_as_they_are_written_are_cut(error: str) -> None:
    every = deliveries(*((LONG, offset) for offset in range(1, 301)))
    unsent = Unsent("l", every, keeps_order=False)
    unsent.put(group(every[:150], Fate.RETRY, error))
    unsent.put(group(every[150:], Fate.DEAD, error))
    sent: list[int] = []
    for settle, _ in requests(unsent):
        check_size(settle)
        errors = [each.error for each in settle.retry] + [each.error for each in settle.dead]
        assert set(errors) == {error[:4000]}
        sent += [each.offset for each in settle.retry] + [each.offset for each in settle.dead]
    assert sent == list(range(1, 301))


async def test_who_waits_for_a_group_that_is_cut_waits_for_its_last_part() -> None:
    every = deliveries(*((LONG, offset) for offset in range(1, 101)))
    unsent = Unsent("l", every, keeps_order=False)
    future = asyncio.get_running_loop().create_future()
    unsent.put(group(every, Fate.RETRY, "\0" * 4000, future))
    made = [taken for _, taken in requests(unsent)]
    assert len(made) > 2
    futures = [each.future for taken in made for each in taken]
    assert futures == [None] * (len(futures) - 1) + [future]


@pytest.mark.parametrize(
    ("keeps_order", "ranges"),
    [
        (True, [("orders", 3, 9), ("orders", 14, 14)]),
        (False, [("orders", 3, 4), ("orders", 7, 7), ("orders", 9, 9), ("orders", 14, 14)]),
    ],
)
def test_range_spans_what_a_filter_left_out_where_nobody_else_can_have_it(
    keeps_order: bool, ranges: list[Range]
) -> None:
    """Without an order, others may have what is between two events, or it waits to come again."""
    every = deliveries(*(("orders", offset) for offset in (3, 4, 7, 9, 12, 14, 16)))
    unsent = Unsent("l", every, keeps_order=keeps_order)
    unsent.put(group([each for each in every if each.offset not in {12, 16}], Fate.ACK))
    settle, _ = unsent.take()
    assert settle == Settle("l", ranges, [], [], [])


def test_acknowledgements_that_nobody_waits_for_go_ahead() -> None:
    every = deliveries(*(("orders", offset) for offset in range(1, 5)))
    unsent = Unsent("l", every, keeps_order=False)
    unsent.put(group(every[2:3], Fate.DEAD, "no"))
    unsent.put(group(every[:1], Fate.ACK))
    unsent.put(group(every[1:2], Fate.ACK))
    settle, groups = unsent.take()
    assert settle.ack == [("orders", 1, 2)]
    assert [each.fate for each in groups] == [Fate.ACK, Fate.DEAD]
    assert not unsent


@given(
    st.permutations(range(1, 9)),
    st.lists(
        st.sampled_from([Fate.ACK, Fate.RETRY, Fate.DEAD, Fate.RELEASE]), min_size=8, max_size=8
    ),
)
def test_nothing_is_settled_behind_a_retry_of_its_topic(
    offsets: list[int], fates: list[Fate]
) -> None:
    """In one request; what was decided before goes ahead."""
    every = deliveries(*((f"t{offset % 2}", offset) for offset in range(1, 9)))
    unsent = Unsent("l", every, keeps_order=True)
    for offset, fate in zip(offsets, fates, strict=True):
        unsent.put(group(every[offset - 1 : offset], fate))
    sent: list[int] = []
    for settle, groups in requests(unsent):
        sent += [each.offset for one in groups for each in one.deliveries]
        for retry in settle.retry:
            settled = [(topic, last) for topic, _, last in settle.ack]
            settled += [(each.topic, each.offset) for each in settle.dead]
            assert [at for topic, at in settled if topic == retry.topic and at > retry.offset] == []
    assert sorted(sent) == list(range(1, 9))
