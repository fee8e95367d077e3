"""A content is read as it grows, and its place is never behind what waits for more lines."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.files.holding import NAMES

from publisher.ship.files.content import Content, ContentReplaced, Slice
from publisher.ship.files.readable_file import open_file
from publisher.ship.files.state import ContentState, Naming, Place
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.multiline import RecordStart
from publisher.ship.records.record import Format

MULTILINE = LinesFormat(start=RecordStart("begin"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


class Reads:
    """Opens contents, and closes them at the end."""

    def __init__(self) -> None:
        self.open: list[Content] = []

    def __call__(
        self, log: Path, place: Place | None = None, line_format: Format | None = None
    ) -> Content:
        made = line_format or LinesFormat()
        file = open_file(log)
        state = ContentState(str(log), "source", "web1", file.identity)
        if place is not None:
            state.name, state.place = "name", place
        naming = Naming(by_source=False, taken=set())
        content = Content(state, file, naming, made.reader(NAMES), made.max_line_bytes)
        self.open.append(content)
        return content


@pytest.fixture
def content_of() -> Iterator[Reads]:
    reads = Reads()
    yield reads
    for content in reads.open:
        content.file.close()


def append(log: Path, content: bytes) -> None:
    with log.open("ab") as file:
        file.write(content)


def lines_of(slices: list[Slice]) -> list[list[bytes]]:
    records = [record for found in slices for record in found.records]
    return [[line.data + line.eol for line in record.lines] for record in records]


def read(content: Content, now: float = 0.0) -> list[Slice]:
    return [*iter(lambda: content.read(now), None)]


def chain_of(*lines: bytes) -> bytes:
    chain = b""
    for line in lines:
        chain = hashlib.sha256(chain + line).digest()
    return chain


def test_place_is_behind_the_lines_that_are_complete(content_of: Reads, log: Path) -> None:
    append(log, b"one\ntwo\nth")
    content = content_of(log)
    (found,) = read(content)
    assert lines_of([found]) == [[b"one\n"], [b"two\n"]]
    assert found.place == Place(8, chain_of(b"one\n", b"two\n"), b"one\ntwo\n", b"one\ntwo\n")
    assert content.read_bytes == 10
    append(log, b"ree\n")
    (found,) = read(content)
    assert found.place is not None
    assert found.place.position == 14


def test_place_stays_before_a_record_that_is_not_complete(content_of: Reads, log: Path) -> None:
    append(log, b"begin 1\nmore\nbegin 2\n")
    content = content_of(log, line_format=MULTILINE)
    (found,) = read(content)
    assert lines_of([found]) == [[b"begin 1\n", b"more\n"]]
    behind_first = chain_of(b"begin 1\n", b"more\n")
    assert found.place == Place(13, behind_first, b"begin 1\nmore\n", b"begin 1\nmore\n")
    append(log, b"more\n")
    assert lines_of(read(content, 1.0)) == []
    assert content.is_unfinished
    assert content.expire(5.9) == []
    (found,) = content.expire(6.0)
    assert lines_of([found]) == [[b"begin 2\n", b"more\n"]]
    assert found.place is not None
    assert (found.place.position, content.is_unfinished) == (26, False)


@given(
    st.lists(st.sampled_from([b"begin\n", b"more\n", b"x" * 300 + b"\n"]), max_size=12),
    st.lists(st.integers(0, 900), max_size=4),
)
def test_content_goes_on_from_any_place_as_if_it_had_not_stopped(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], stops: list[int]
) -> None:
    log = tmp_path_factory.mktemp("content") / "app.log"
    whole = b"".join(lines)
    log.write_bytes(whole)
    reads = Reads()
    once = reads(log, line_format=MULTILINE)
    expected = [
        (record.position, record.chain, record.payload)
        for found in [*read(once), *once.finish(0.0, ended=True)]
        for record in found.records
    ]
    got = []
    place: Place | None = None
    log.write_bytes(b"")
    written = 0
    for stop in [*sorted(stops), len(whole)]:
        append(log, whole[written:stop])
        written = max(written, min(stop, len(whole)))
        content = reads(log, place, MULTILINE)
        for found in read(content):
            got += [(record.position, record.chain, record.payload) for record in found.records]
            place = found.place or place
    got += [
        (record.position, record.chain, record.payload)
        for found in content.finish(0.0, ended=True)
        for record in found.records
    ]
    for content in reads.open:
        content.file.close()
    assert got == expected


def test_last_line_without_newline_is_under_way_unless_the_content_ended(
    content_of: Reads, log: Path
) -> None:
    append(log, b"one\nno end")
    for ended in (False, True):
        content = content_of(log)
        read(content)
        (found,) = content.finish(0.0, ended=ended)
        assert lines_of([found]) == [[b"no end"]]
        assert (found.place and found.place.position) == (10 if ended else None)


def test_line_alone_without_newline_names_its_content(content_of: Reads, log: Path) -> None:
    append(log, b"no end")
    content = content_of(log)
    assert read(content) == []
    assert content.name == ""
    (found,) = content.finish(0.0, ended=True)
    assert len(content.name) == 20
    assert found.records[0].chain == chain_of(b"no end")


@pytest.mark.parametrize("written", [b"another\n", b"one\ntwa\nmore\n", b""])
def test_content_that_was_written_anew_is_noticed(
    content_of: Reads, log: Path, written: bytes
) -> None:
    append(log, b"one\ntwo\n")
    content = content_of(log)
    read(content)
    os.truncate(log, 0)
    append(log, written)
    if written:
        with pytest.raises(ContentReplaced):
            content.read(0.0)
    assert content.is_cut(log, log.stat()) == (len(written) < 8)


def test_content_that_was_read_to_its_end_is_quiet_from_then_on(
    content_of: Reads, log: Path
) -> None:
    append(log, b"one\n")
    content = content_of(log)
    read(content, 5.0)
    assert content.quiet_since == 5.0
    read(content, 6.0)
    assert content.quiet_since == 5.0
    append(log, b"two\n")
    assert content.read(7.0) is not None
    assert content.quiet_since is None


@pytest.mark.parametrize(("nuls", "position"), [(511, 0), (512, 512), (300_000, 300_000)])
def test_hole_at_the_start_is_skipped_once_something_stands_behind_it(
    content_of: Reads, log: Path, nuls: int, position: int
) -> None:
    append(log, bytes(nuls))
    content = content_of(log)
    assert read(content) == []
    append(log, b"one\n")
    found = read(content)
    assert found[0].records[0].position == position
    place = found[-1].place
    assert place is not None
    assert place.position == nuls + 4
    # It goes on behind it.
    append(log, b"two\n")
    assert lines_of(read(content_of(log, place))) == [[b"two\n"]]


def test_place_with_a_mark_is_never_within_it(content_of: Reads, log: Path) -> None:
    append(log, b"\xef\xbb\xbfbegin\n")
    content = content_of(log, line_format=MULTILINE)
    assert [found.place for found in read(content)] == []
    (found,) = content.finish(0.0, ended=True)
    assert found.records[0].position == 3
    assert found.place is not None
    assert found.place.position == 9


def test_state_as_read_has_the_digest_of_a_line_under_way(content_of: Reads, log: Path) -> None:
    append(log, b"one\nhalf")
    content = content_of(log)
    read(content)
    assert content.as_read().place == Place(
        8, chain_of(b"one\n", b"half"), b"one\nhalf", b"one\nhalf"
    )
    assert content.state.place.position == 0
