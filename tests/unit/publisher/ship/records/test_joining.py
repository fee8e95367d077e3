"""Pieces of containers' lines are joined as an independent model joins them."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.records.feeding import (
    NAMES,
    all_records,
    fed_in_parts,
    lines_of,
    payload_of,
    records_in_parts,
)

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cri import CriFormat
from publisher.ship.records.docker import DockerFormat
from publisher.ship.records.joining import JoiningReader
from publisher.ship.records.record import Format, Line, Record

MAX_BYTES = 12
FORMATS: tuple[Format, ...] = (DockerFormat(), CriFormat())


class Written(NamedTuple):
    """What a container writes at once; a stream of "" is a line that its runtime never wrote."""

    stream: str
    text: str
    ends: bool


WRITTEN = st.lists(
    st.builds(
        Written,
        st.sampled_from(["stdout", "stderr", "stdout", "stderr", ""]),
        st.text('aé€\r"\\ ', max_size=12),
        st.sampled_from([False, False, True]),
    ),
    max_size=20,
)


@pytest.fixture(autouse=True, scope="module")
def _short_records() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{JoiningReader.__module__}.MAX_PIECE_BYTES", MAX_BYTES)
        yield


def lines_written(made: Format, written: Sequence[Written]) -> list[Line]:
    """Write lines as a runtime does."""
    content = []
    for number, (stream, text, ends) in enumerate(written):
        time = f"2026-11-30T12:00:{number:02d}.000000001Z"
        if not stream:
            content.append("torn\n")
        elif made.name == "docker":
            log = text + "\n" * ends
            content.append(json.dumps({"log": log, "stream": stream, "time": time}) + "\n")
        else:
            content.append(f"{time} {stream} {'F' if ends else 'P'} {text}\n")
    return lines_of("".join(content).encode())


def joined_by_the_model(written: Sequence[Written]) -> list[list[int]]:
    """Say which lines are one record, by their numbers, in no order."""
    groups = [[number] for number, each in enumerate(written) if not each.stream]
    for stream in ("stdout", "stderr"):
        group: list[int] = []
        size = 0
        for number, (of, text, ends) in enumerate(written):
            if of != stream:
                continue
            if group and size + len(text.encode()) > MAX_BYTES:
                groups.append(group)
                group, size = [], 0
            group = [*group, number]
            size += len(text.encode())
            if ends:
                groups.append(group)
                group, size = [], 0
        if group:
            groups.append(group)
    return sorted(groups)


def check(written: Sequence[Written], lines: Sequence[Line], record: Record) -> None:
    """Hold a record against what was written."""
    numbers = [lines.index(line) for line in record.lines]
    first = written[numbers[0]]
    assert record.position == record.lines[0].position
    assert record.chain == record.lines[-1].chain
    assert record[4:7] == (None, None, None)
    if not first.stream:
        assert record.refused
        assert line_bytes(payload_of(record)) == b"torn\n"
        return
    assert record.refused == ""
    assert record.time == f"2026-11-30T12:00:{numbers[0]:02d}.000000Z"
    assert payload_of(record) == {
        "position": record.position,
        "stream": first.stream,
        "line": "".join(written[number].text for number in numbers),
    }


@pytest.mark.parametrize("made", FORMATS, ids=lambda made: made.name)
@given(WRITTEN, st.data())
def test_pieces_are_joined_each_stream_apart(
    made: Format, written: list[Written], data: st.DataObject
) -> None:
    lines = lines_written(made, written)
    records = records_in_parts(made.reader(NAMES), data.draw(fed_in_parts(lines)))
    numbers = sorted([lines.index(line) for line in record.lines] for record in records)
    assert numbers == joined_by_the_model(written)
    for record in records:
        check(written, lines, record)
    assert records == all_records(made.reader(NAMES), lines)


@pytest.mark.parametrize("made", FORMATS, ids=lambda made: made.name)
@given(WRITTEN, st.integers(0, 20))
def test_another_reader_goes_on_at_the_unfinished_line(
    made: Format, written: list[Written], stop: int
) -> None:
    lines = lines_written(made, written)
    stop = min(stop, len(lines))
    whole = all_records(made.reader(NAMES), lines)
    reader = made.reader(NAMES)
    before = reader.feed(lines[:stop], 0.0)
    unfinished = reader.unfinished
    held = {line for record in before for line in record.lines}
    waiting = [line for line in lines[:stop] if line not in held]
    assert (unfinished is None) == (not waiting)
    assert unfinished is None or unfinished <= waiting[0]
    resumed = stop if unfinished is None else lines.index(unfinished)
    after = all_records(made.reader(NAMES), lines[resumed:])
    assert set(before) | set(after) == set(whole)


@pytest.mark.parametrize("made", FORMATS, ids=lambda made: made.name)
@given(
    st.lists(
        st.tuples(
            st.builds(
                Written,
                st.sampled_from(["stdout", "stderr"]),
                st.text("ab", max_size=1),
                st.booleans(),
            ),
            st.sampled_from([0.0, 1.0, 4.9, 5.0, 9.0]),
        ),
        max_size=12,
    )
)
def test_what_waits_for_five_seconds_is_a_record(
    made: Format, told: list[tuple[Written, float]]
) -> None:
    written = [each for each, _ in told]
    lines = lines_written(made, written)
    reader = made.reader(NAMES)
    records = []
    now = 100.0
    expected = []
    under_way: dict[str, list[int]] = {}
    last: dict[str, float] = {}
    for number, (each, pause) in enumerate(told):
        records += reader.feed([lines[number]], now)
        under_way.setdefault(each.stream, []).append(number)
        last[each.stream] = now
        if each.ends:
            expected.append(under_way.pop(each.stream))
        now += pause
        records += reader.expire(now)
        late = [stream for stream in under_way if now - last[stream] >= 5.0]
        expected += [under_way.pop(stream) for stream in late]
    records += reader.finish()
    expected += under_way.values()
    assert sorted([lines.index(line) for line in record.lines] for record in records) == sorted(
        expected
    )
    for record in records:
        check(written, lines, record)


def test_pieces_that_stand_in_the_file_are_joined_however_late_they_are_read() -> None:
    written = [Written("stdout", "a", ends=False), Written("stdout", "b", ends=True)]
    first, second = lines_written(CriFormat(), written)
    reader = CriFormat().reader(NAMES)
    assert reader.feed([first], 0.0) == []
    (record,) = reader.feed([second], 3600.0)
    assert payload_of(record)["line"] == "ab"


def test_records_that_overlap_are_read_again_from_the_first() -> None:
    written = [
        Written("stderr", "a", ends=False),
        Written("stdout", "b", ends=False),
        Written("stderr", "c", ends=True),
    ]
    lines = lines_written(CriFormat(), written)
    reader = CriFormat().reader(NAMES)
    assert [payload_of(record)["line"] for record in reader.feed(lines, 0.0)] == ["ac"]
    assert reader.unfinished == lines[0]
    written += [Written("stderr", "d", ends=False), Written("stdout", "e", ends=True)]
    lines = lines_written(CriFormat(), written)
    assert [payload_of(record)["line"] for record in reader.feed(lines[3:], 0.0)] == ["be"]
    assert reader.unfinished == lines[0]


def test_record_expires_five_seconds_after_its_last_piece() -> None:
    written = [Written("stdout", "a", ends=False), Written("stdout", "b", ends=False)]
    first, second = lines_written(CriFormat(), written)
    reader = CriFormat().reader(NAMES)
    assert reader.feed([first], 10.0) == []
    assert reader.feed([second], 14.0) == []
    assert reader.expire(18.9) == []
    assert [payload_of(record)["line"] for record in reader.expire(19.0)] == ["ab"]
