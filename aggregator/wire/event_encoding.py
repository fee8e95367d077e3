"""The encoders of stored events: columns in, the bytes of JSON objects out.

An object an event and a general encoder would take four times as long. The pieces of all events are
laid out in one list, a column at a time, and joined; a payload goes in as it was sent.
"""

from collections.abc import Iterable, Sequence
from operator import add

from aggregator.wire.timestamps import render_timestamp
from storage.model import EventColumns

_PIECES = 8
"""Pieces of an object: topic, event id, second and fraction of its timestamp, source, payload,
offset, time of ingest."""

_SECOND_US = 1_000_000

_AS_SPACES = bytes.maketrans(b"\r\n", b"  ")
"""Line breaks in a payload's text can only be white space between tokens."""


def encode_objects(columns: EventColumns) -> bytes:
    """Encode events as JSON objects, separated by commas.

    Args:
        columns: at least one event.
    """
    pieces = _pieces(columns, b"},")
    pieces[-1] = pieces[-1][:-1]
    return b"".join(pieces)


def encode_lines(columns: EventColumns) -> bytes:
    """Encode events as NDJSON, one JSON object a line.

    Args:
        columns: at least one event.
    """
    return _encode_in_lines(columns, b"}\n")


def encode_blocks(columns: EventColumns) -> bytes:
    """Encode events as blocks of an event stream, whose ids are the events' offsets.

    Args:
        columns: at least one event.
    """
    starts = [b"id: %d\ndata: " % offset for offset in columns.offsets]
    return _encode_in_lines(columns, b"}\n\n", starts)


def _encode_in_lines(
    columns: EventColumns, end: bytes, starts: Sequence[bytes] | None = None
) -> bytes:
    """Encode events in a form in which line breaks mean something."""
    count = len(columns.offsets)
    line_breaks = count * (end.count(b"\n") + (0 if starts is None else 1))
    encoded = b"".join(_pieces(columns, end, starts))
    if encoded.count(b"\n") > line_breaks or b"\r" in encoded:
        payloads = [payload.translate(_AS_SPACES) for payload in columns.payloads]
        encoded = b"".join(_pieces(columns._replace(payloads=payloads), end, starts))
    return encoded


def _pieces(
    columns: EventColumns, end: bytes, starts: Sequence[bytes] | None = None
) -> list[bytes]:
    topics, offsets, event_ids, timestamps_us, ts_ingest_us, sources, payloads = columns
    # What few events share is made once.
    heads = {topic: b'{"topic":"%b","event_id":"' % topic for topic in set(topics)}
    seconds = _Seconds()
    middles = {
        source: b'Z","source":"%b","payload":' % escape_name(source) for source in set(sources)
    }
    tails = {
        time_us: b',"ts_ingest":"%b"%b' % (render_timestamp(time_us).encode(), end)
        for time_us in set(ts_ingest_us)
    }
    pieces = [b""] * (_PIECES * len(offsets))
    objects = map(heads.__getitem__, topics)
    pieces[0::_PIECES] = objects if starts is None else map(add, starts, objects)
    pieces[1::_PIECES] = _escaped(event_ids)
    pieces[2::_PIECES] = [seconds[time_us // _SECOND_US] for time_us in timestamps_us]
    pieces[3::_PIECES] = _formatted(b"%06d", [time_us % _SECOND_US for time_us in timestamps_us])
    pieces[4::_PIECES] = map(middles.__getitem__, sources)
    pieces[5::_PIECES] = payloads
    pieces[6::_PIECES] = _formatted(b',"offset":%d', offsets)
    pieces[7::_PIECES] = map(tails.__getitem__, ts_ingest_us)
    return pieces


class _Seconds(dict[int, bytes]):
    """The text of a whole second up to its fraction, by seconds since the epoch."""

    def __missing__(self, second: int) -> bytes:
        text = render_timestamp(second * _SECOND_US)
        self[second] = b'","timestamp":"%b' % text[: -len("000000Z")].encode()
        return self[second]


def _formatted(template: bytes, numbers: Sequence[int]) -> list[bytes]:
    """Format every number, in one call for all of them."""
    return (b"\n".join([template] * len(numbers)) % tuple(numbers)).split(b"\n")


def _escaped(names: Sequence[bytes]) -> Iterable[bytes]:
    joined = b"".join(names)
    if b'"' in joined or b"\\" in joined:
        return map(escape_name, names)
    return names


def escape_name(name: bytes) -> bytes:
    """Encode an event id or a source as JSON has it between quotes."""
    # A name has no control characters, so nothing else needs an escape.
    return name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
