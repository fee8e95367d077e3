"""A piece of a log file as an event, and back.

The event_id is made of what the piece is, never of when or where it was sent:

    <fingerprint>-<position>-<length>       3c9f0a…-000000001234-57

fingerprint: 20 hex digits from the name of the source and the first line of the file. Shipping a
file again, from another directory or machine, or after a crash half-way gives the same ids, so
the aggregator stores nothing twice. A file that was rotated has another first line and so other
ids under the same name. Two files with the same source and the same first line would share ids:
give them different sources.

length: bytes of the piece with its terminator. A last line that was shipped while it was being
written, and again when it was complete, is two events and not one in conflict with itself.

While the *first* line has no newline yet (and is shorter than FIRST_LINE_BYTES), the fingerprint
is that of what is there. Once the line is complete the fingerprint is another, for good: what was
shipped before, at most that one line, is stored a second time. Nothing is lost.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import BinaryIO

import msgspec

from publisher.lines import Piece

FIRST_LINE_BYTES = 4096
MAX_SOURCE_CHARACTERS = 256
_FINGERPRINT_DIGITS = 20
_DEFAULT_EOL = "\n"
# A byte of a file name that is not UTF-8 reaches Python as a lone surrogate.
_NOT_IN_A_SOURCE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Event(msgspec.Struct, frozen=True):
    """An event as an aggregator takes it."""

    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: dict[str, int | str]


def source_name(path: PurePath) -> str:
    """Give the source of a file that was not given one: its base name.

    Control characters and bytes that are not UTF-8 are percent-encoded; a name that is too long
    is cut and ends in a digest of all of it, so that two long names stay two. The result is 1 to
    MAX_SOURCE_CHARACTERS characters.
    """
    name = _NOT_IN_A_SOURCE.sub(_percent_encoded, path.name)
    if len(name) <= MAX_SOURCE_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
    return f"{name[: MAX_SOURCE_CHARACTERS - len(digest) - 1]}-{digest}"


def is_source(text: str) -> bool:
    """Tell whether an aggregator takes this text as a source."""
    return 1 <= len(text) <= MAX_SOURCE_CHARACTERS and not _NOT_IN_A_SOURCE.search(text)


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogateescape"))


def read_fingerprint(file: BinaryIO, source: str) -> str:
    """Give the 20 hex digits that the ids of a file's events begin with.

    file: open for reading in binary mode, at position 0; it is left at position 0 again.
    source: as the events will have it.

    Raises OSError when the file cannot be read.
    """
    first_line = file.readline(FIRST_LINE_BYTES).removesuffix(b"\n")
    file.seek(0)
    digest = hashlib.sha256(source.encode() + b"\0" + first_line)
    return digest.hexdigest()[:_FINGERPRINT_DIGITS]


def log_event(piece: Piece, *, topic: str, source: str, fingerprint: str) -> Event:
    """Make the event of a piece, stamped with the time it is now.

    The payload holds `position` (bytes from the start of the file), `line` (text) or, where the
    bytes are not UTF-8, `line_base64`, and `eol` unless it is a line feed.
    """
    payload: dict[str, int | str] = {"position": piece.position}
    try:
        payload["line"] = piece.data.decode()
    except UnicodeDecodeError:
        payload["line_base64"] = base64.b64encode(piece.data).decode()
    eol = piece.eol.decode()
    if eol != _DEFAULT_EOL:
        payload["eol"] = eol
    length = len(piece.data) + len(piece.eol)
    return Event(
        topic=topic,
        event_id=f"{fingerprint}-{piece.position:012d}-{length}",
        timestamp=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        source=source,
        payload=payload,
    )


def line_bytes(payload: Mapping[str, object]) -> bytes:
    """Give the bytes that an event's payload was made of, terminator included.

    payload: as `log_event` made it, or as it was read back from an aggregator. The bytes belong
    at `payload["position"]` of the file.

    Raises ValueError when this is not the payload of a piece of a file.
    """
    match payload:
        case {"line": str(), "line_base64": _}:
            raise ValueError("the payload has both `line` and `line_base64`")
        case {"line": str(line)}:
            data = line.encode()
        case {"line_base64": str(encoded)}:
            try:
                data = base64.b64decode(encoded, validate=True)
            except ValueError as error:
                raise ValueError(f"`line_base64` is not base64: {error}") from error
        case _:
            raise ValueError("the payload has neither `line` nor `line_base64` as text")
    match payload.get("eol", _DEFAULT_EOL):
        case str(eol):
            return data + eol.encode()
        case other:
            raise ValueError(f"`eol` is not text: {other!r}")
