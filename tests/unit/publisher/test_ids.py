"""Ids: unique and ascending whatever the clock and the threads do, and readable again."""

import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.threads import THREADS, in_threads

from publisher.ids import (
    EPOCH_MS,
    MAX_NODE,
    TimeNodeId,
    TimeNodeIds,
    uuid7,
)

NOW_MS = 1_769_860_800_000
LAST_MS = EPOCH_MS + 2**41 - 1

times = st.integers(EPOCH_MS, LAST_MS)
nodes = st.integers(0, MAX_NODE)
counters = st.integers(0, 4095)
parts = st.builds(TimeNodeId, times, nodes, counters)


@st.composite
def readings(draw: st.DrawFn) -> list[int]:
    """What an adversarial clock shows: it stands still, creeps, leaps, and is set back by years."""
    start = draw(st.integers(EPOCH_MS, LAST_MS - 10**12))
    step = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-(10**12), 10**12))
    shown = [start]
    for change in draw(st.lists(step, max_size=60)):
        shown.append(min(max(0, shown[-1] + change), LAST_MS - 10**6))
    return shown


def clock_of(shown: list[int]) -> Callable[[], int]:
    return iter(shown).__next__


def ascending(made: list[str]) -> bool:
    """As text, without a repetition."""
    return all(earlier < later for earlier, later in pairwise(made))


def decoded(text: str) -> tuple[int, int, int]:
    """Time, node and counter as the layout says, bit by bit."""
    assert re.fullmatch("[0-9a-f]{16}", text)
    bits = f"{int(text, 16):064b}"
    assert bits[0] == "0", "a signed 64-bit column holds it"
    return EPOCH_MS + int(bits[1:42], 2), int(bits[42:52], 2), int(bits[52:], 2)


# UUIDv7


def test_a_uuid7_is_one_by_the_standard_library_and_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    text = uuid7()
    after = time.time_ns() // 1_000_000
    made = uuid.UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_uuid7s_ascend_in_the_order_they_were_made_across_threads() -> None:
    turn = threading.Lock()
    made: list[str] = []

    def make() -> None:
        for _ in range(5_000):
            with turn:
                made.append(uuid7())

    in_threads(make)
    assert len(made) == THREADS * 5_000
    assert ascending(made)
    milliseconds = {uuid.UUID(text).int >> 80 for text in made}
    assert len(milliseconds) < len(made), "none shared a millisecond: this tells nothing"


@pytest.mark.usefixtures("processes")
def test_a_fork_makes_other_uuid7s_than_its_parent() -> None:
    forked = (
        "import os; from publisher.ids import uuid7; uuid7(); child = not os.fork()\n"
        "os.write(1, ''.join(uuid7() + '\\n' for _ in range(1000)).encode())\n"
        "child or os.wait()"
    )
    ids = subprocess.run(
        [sys.executable, "-c", forked], capture_output=True, check=True, text=True
    ).stdout.split()
    assert len(ids) == 2_000
    # Behind the time, which alone would tell them apart only for as long as it differs.
    assert len({text[14:] for text in ids}) == 2_000


# Time, node and counter


@given(readings(), nodes)
def test_ids_ascend_and_follow_any_clock(shown: list[int], node: int) -> None:
    new_id = TimeNodeIds(node, clock_ms=clock_of(shown))
    made = [new_id() for _ in shown]
    assert ascending(made)
    latest = [max(shown[: number + 1]) for number in range(len(shown))]
    assert [TimeNodeId.parse(text).time_ms for text in made] == latest


@given(readings(), nodes, counters)
def test_ids_match_a_reference_counter_that_never_falls(
    shown: list[int], node: int, counter: int
) -> None:
    # From any place within the millisecond, so that a full counter is met as well.
    last = TimeNodeId(shown[0], node, counter)
    new_id = TimeNodeIds(node, after=str(last), clock_ms=clock_of(shown))
    count = last.time_ms * 4096 + counter
    for reading in shown:
        count = max(count + 1, reading * 4096)
        assert decoded(new_id()) == (count // 4096, node, count % 4096)


def test_more_ids_in_a_millisecond_than_the_counter_holds_go_on_in_the_next() -> None:
    new_id = TimeNodeIds(3, clock_ms=lambda: NOW_MS)
    made = [decoded(new_id()) for _ in range(10_000)]
    assert made == [(NOW_MS + n // 4096, 3, n % 4096) for n in range(10_000)]


def test_threads_sharing_a_generator_get_distinct_ascending_ids() -> None:
    jumps = [0, 0, 1, -5_000, 7, 3, -1]
    shown = iter(range(10**9))
    new_id = TimeNodeIds(7, clock_ms=lambda: NOW_MS + jumps[next(shown) % len(jumps)])
    of_threads: list[list[str]] = []

    def make() -> None:
        of_threads.append([new_id() for _ in range(10_000)])

    in_threads(make)
    for made in of_threads:
        assert ascending(made)
    assert len({text for made in of_threads for text in made}) == THREADS * 10_000


@given(readings(), st.lists(nodes, min_size=2, max_size=2, unique=True))
def test_two_nodes_never_make_the_same_id(shown: list[int], pair: list[int]) -> None:
    generators = [TimeNodeIds(node, clock_ms=clock_of(shown)) for node in pair]
    made = {new_id() for new_id in generators for _ in shown}
    assert len(made) == 2 * len(shown)


@given(parts, parts)
def test_the_order_of_the_texts_is_that_of_the_numbers(one: TimeNodeId, other: TimeNodeId) -> None:
    texts = [str(one), str(other)]
    assert (texts[0] < texts[1]) == (one < other) == (int(texts[0], 16) < int(texts[1], 16))


@given(parts)
def test_id_parses_to_its_parts(one: TimeNodeId) -> None:
    assert TimeNodeId.parse(str(one)) == one == decoded(str(one))


def test_the_layout_is_as_documented() -> None:
    assert datetime.fromtimestamp(EPOCH_MS / 1000, UTC).isoformat() == "2024-01-01T00:00:00+00:00"
    assert str(TimeNodeId(EPOCH_MS, 0, 0)) == "0000000000000000"
    assert str(TimeNodeId(EPOCH_MS + 1, 5, 7)) == "0000000000405007"
    assert str(TimeNodeId(LAST_MS, 1023, 4095)) == "7fffffffffffffff"


def test_without_another_clock_the_time_is_that_of_the_system() -> None:
    before = time.time_ns() // 1_000_000
    made = TimeNodeId.parse(TimeNodeIds(0)())
    assert before <= made.time_ms <= time.time_ns() // 1_000_000


@given(st.lists(readings(), min_size=2, max_size=4), nodes)
def test_restart_after_the_last_id_repeats_no_id(runs: list[list[int]], node: int) -> None:
    made: list[str] = []
    for shown in runs:
        after = made[-1] if made else None
        new_id = TimeNodeIds(node, after=after, clock_ms=clock_of(shown))
        made += [new_id() for _ in shown]
    assert ascending(made)


def test_generators_with_the_same_node_repeat_ids() -> None:
    # Why a node belongs to one generator, and why `after` is there.
    one, same = (TimeNodeIds(1, clock_ms=lambda: NOW_MS) for _ in range(2))
    assert one() == same()


@pytest.mark.parametrize("node", [-1, 1024])
def test_a_node_out_of_range_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match=f"the node must be 0 to 1023, not {node}"):
        TimeNodeIds(node)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "0" * 15,
        "0" * 17,
        "0" * 15 + "A",
        "0" * 15 + "g",
        "8" + "0" * 15,
        "0" * 16 + "\n",
        "\u0661" * 16,
        "e-1",
    ],
)
def test_another_form_of_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id of time, node and counter"):
        TimeNodeId.parse(text)
    with pytest.raises(ValueError, match="is not an id of time, node and counter"):
        TimeNodeIds(1, after=text)


def test_the_last_id_of_another_node_is_refused() -> None:
    with pytest.raises(ValueError, match="is an id of node 2, not of 1"):
        TimeNodeIds(1, after=str(TimeNodeId(NOW_MS, 2, 0)))


@pytest.mark.parametrize("reading", [LAST_MS + 1, 10**15, 10**30])
def test_a_clock_past_41_bits_is_refused_and_spoils_nothing(reading: int) -> None:
    new_id = TimeNodeIds(1, clock_ms=clock_of([NOW_MS, reading, NOW_MS]))
    new_id()
    with pytest.raises(ValueError, match=r"is past 2093-09-06T15:47:35\.551"):
        new_id()
    assert decoded(new_id()) == (NOW_MS, 1, 1)


def test_no_id_follows_the_last_one() -> None:
    new_id = TimeNodeIds(1, after=str(TimeNodeId(LAST_MS, 1, 4095)))
    with pytest.raises(ValueError, match="is past 2093"):
        new_id()


def test_clock_before_2024_is_refused() -> None:
    new_id = TimeNodeIds(1, clock_ms=clock_of([0, EPOCH_MS - 1, EPOCH_MS, 0]))
    for _ in range(2):
        with pytest.raises(ValueError, match="the clock is before 2024"):
            new_id()
    assert [decoded(new_id()) for _ in range(2)] == [(EPOCH_MS, 1, 0), (EPOCH_MS, 1, 1)]


@pytest.mark.usefixtures("processes")
def test_a_fork_of_a_generator_makes_no_ids() -> None:
    forked = (
        "import os; from publisher.ids import TimeNodeIds\n"
        "new_id = TimeNodeIds(1); new_id(); child = not os.fork()\n"
        "try: made = new_id()\n"
        "except RuntimeError as error: made = str(error)\n"
        "os.write(1, f'{child} {made}\\n'.encode()); child or os.wait()"
    )
    ran = subprocess.run([sys.executable, "-c", forked], capture_output=True, check=True, text=True)
    of_child, of_parent = sorted(ran.stdout.splitlines(), reverse=True)
    assert of_child.startswith("True this TimeNodeIds belongs to the parent of this process")
    assert re.fullmatch("False [0-9a-f]{16}", of_parent)


# Numbers
