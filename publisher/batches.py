"""Pieces of a file as batches: bodies for one request each."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from publisher.lines import Piece

# Far below the 16 MiB that an aggregator takes, so that a retry sends little again.
MAX_BATCH_BYTES = 1024 * 1024
DEFAULT_BATCH_EVENTS = 500
MAX_BATCH_EVENTS = 10_000


class Batch(NamedTuple):
    """What one request sends.

    body: newline-delimited JSON, one event a line.
    events: how many events these are.
    lines: how many lines of the file end in this batch; less than `events` where some were cut.
    position: offset in the file, in bytes, of the first piece.
    file_bytes: how many bytes of the file these are.
    """

    body: bytes
    events: int
    lines: int
    position: int
    file_bytes: int


def batches(
    pieces: Iterable[Piece],
    encode: Callable[[Piece], bytes],
    *,
    max_events: int = DEFAULT_BATCH_EVENTS,
    max_bytes: int = MAX_BATCH_BYTES,
) -> Iterator[Batch]:
    """Put the pieces of one file into batches, in their order.

    encode: gives the event of a piece as one line of JSON, without newline.
    max_events: at most this many events in a batch, 1 or more.
    max_bytes: at most this many bytes in a body; one event that is larger goes alone.

    Pieces are read only as far as the batch that is asked for needs.
    """
    taken: list[Piece] = []
    body = bytearray()
    for piece in pieces:
        encoded = encode(piece)
        if taken and (len(taken) == max_events or len(body) + len(encoded) + 1 > max_bytes):
            yield _batch(taken, body)
            taken, body = [], bytearray()
        taken.append(piece)
        body += encoded
        body += b"\n"
    if taken:
        last = _batch(taken, body)
        # The end of the file ends its last line too.
        yield last if taken[-1].eol else last._replace(lines=last.lines + 1)


def _batch(pieces: list[Piece], body: bytearray) -> Batch:
    return Batch(
        body=bytes(body),
        events=len(pieces),
        lines=sum(1 for piece in pieces if piece.eol),
        position=pieces[0].position,
        file_bytes=sum(len(piece.data) + len(piece.eol) for piece in pieces),
    )
