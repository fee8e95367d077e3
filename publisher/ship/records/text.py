"""Text records hold the bytes of lines as they are."""

import base64

import msgspec

from publisher.ship.records.cutting import MAX_PIECE_BYTES, cut_place
from publisher.ship.records.record import Line, Record

_encode = msgspec.json.Encoder().encode


def text_payload(position: int, data: bytes, eol: bytes) -> bytes:
    r"""Encode the payload that holds every byte of a line.

    Args:
        position: of the first byte.
        data: the bytes without their last terminator; `log_events.line_bytes` gives them back.
        eol: the last terminator; it is left out of the payload when it is b"\n".
    """
    payload: dict[str, int | str] = {"position": position, **text_member(data)}
    if eol != b"\n":
        payload["eol"] = eol.decode()
    return _encode(payload)


def text_member(data: bytes) -> dict[str, str]:
    """Give the member `line`, or `line_base64` where the bytes are not UTF-8."""
    try:
        return {"line": data.decode()}
    except UnicodeDecodeError:
        return {"line_base64": base64.b64encode(data).decode()}


def text_record(line: Line) -> Record:
    """Make a record that holds one line."""
    payload = text_payload(line.position, line.data, line.eol)
    return Record(line.position, line.chain, payload, None, None, None, None, (line,))


def refused_records(line: Line, reason: str) -> list[Record]:
    """Make text records of a line of which its format can't make what it should.

    Args:
        line: the line. One of more than MAX_PIECE_BYTES takes several records, each with a
            position of its own, since the text of one might be more than a payload may have.
        reason: one sentence.

    Returns:
        At least one record; the last has the line, the others have none.
    """
    if len(line.data) <= MAX_PIECE_BYTES:
        return [text_record(line)._replace(refused=reason)]
    records = []
    position, data = line.position, line.data
    while data:
        cut = cut_place(data, MAX_PIECE_BYTES) if len(data) > MAX_PIECE_BYTES else len(data)
        lines, eol = ((), b"") if cut < len(data) else ((line,), line.eol)
        payload = text_payload(position, data[:cut], eol)
        records.append(Record(position, line.chain, payload, None, None, None, None, lines, reason))
        position, data = position + cut, data[cut:]
    return records
