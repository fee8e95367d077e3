"""Lines of contents, and readers that are fed with them."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from publisher.ship.files.line_reader import LineReader
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import ContentNames, Format, Line, Reader, Record

NAMES = ContentNames("web-1", "/var/log/app.log", "app.log")


def lines_of(content: bytes, max_line_bytes: int = MAX_PIECE_BYTES) -> list[Line]:
    """Cut a content into lines, as a reader gets them."""
    reader = LineReader(0, bytes(32), max_line_bytes)
    return reader.feed(content) + reader.finish()


def all_records(reader: Reader, lines: Sequence[Line]) -> list[Record]:
    """Feed a reader at once, and finish it."""
    return reader.feed(lines, 0.0) + reader.finish()


def records_of(made: Format, content: bytes) -> list[Record]:
    """Give the records of a whole content."""
    return all_records(made.reader(NAMES), lines_of(content, made.max_line_bytes))


def payload_of(record: Record) -> dict[str, Any]:
    """Decode the payload of a record."""
    payload: dict[str, Any] = json.loads(record.payload)
    return payload


@st.composite
def fed_in_parts(draw: st.DrawFn, lines: Sequence[Line]) -> list[Sequence[Line]]:
    """Split lines into feeds, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(lines)), max_size=5)))
    return [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]


def records_in_parts(reader: Reader, feeds: Sequence[Sequence[Line]]) -> list[Record]:
    """Feed a reader again and again, and finish it."""
    # However long it takes to read what stands in the file.
    found = [record for n, lines in enumerate(feeds) for record in reader.feed(lines, n * 60.0)]
    return found + reader.finish()
