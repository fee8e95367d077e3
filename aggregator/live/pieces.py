"""Pieces of encoded events: what a connection gets at a time."""

PIECE_BYTES = 64 * 1024

_ID = b"id: "


def next_piece(data: bytes, given: int, end: bytes) -> bytes:
    """Cut the next piece off encoded events: whole events, or a part of one that is larger.

    Args:
        data: the events.
        given: bytes of them that were given before, up to here.
        end: what ends an event; it is in no piece in part.
    """
    if len(data) - given <= PIECE_BYTES:
        return data[given:] if given else data
    cut = data.rfind(end, given, given + PIECE_BYTES)
    if cut >= 0:
        return data[given : cut + len(end)]
    return data[given : given + PIECE_BYTES].rstrip(b"\n")


def with_positions(piece: bytes, head: bytes, *, begins_event: bool) -> bytes:
    """Make the ids of events, which are offsets, positions of several topics.

    Args:
        piece: blocks of one topic.
        head: the position up to where the offset goes.
        begins_event: whether the piece begins between two events.
    """
    end = b"\n\n"
    rewritten = piece.replace(end + _ID, end + _ID + head)
    return _ID + head + rewritten[len(_ID) :] if begins_event else rewritten
