"""A line of a log as the payload of an event, and back."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePath

from publisher.ship.lines import Piece

MAX_SOURCE_CHARACTERS = 256
_DIGEST_DIGITS = 20
_DEFAULT_EOL = "\n"
# A byte of a file name that is not UTF-8 reaches Python as a lone surrogate.
_NOT_IN_A_SOURCE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def source_name(path: PurePath) -> str:
    """Give the source of a file that was not given one: its base name.

    Control characters and bytes that are not UTF-8 are percent-encoded; a name that is too long
    is cut and ends in a digest of all of it, so that two long names stay two. The result is 1 to
    MAX_SOURCE_CHARACTERS characters.
    """
    name = _NOT_IN_A_SOURCE.sub(_percent_encoded, path.name)
    if len(name) <= MAX_SOURCE_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{name[: MAX_SOURCE_CHARACTERS - len(digest) - 1]}-{digest}"


def is_source(text: str) -> bool:
    """Tell whether an aggregator takes this text as a source."""
    return 1 <= len(text) <= MAX_SOURCE_CHARACTERS and not _NOT_IN_A_SOURCE.search(text)


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogateescape"))


def line_payload(piece: Piece) -> dict[str, int | str]:
    """Give the payload that holds every byte of a piece.

    It has `position` (bytes from the start of the file) and `line` (text) or, where the bytes are
    not UTF-8, `line_base64`, and `eol` unless it is a line feed.
    """
    payload: dict[str, int | str] = {"position": piece.position}
    try:
        payload["line"] = piece.data.decode()
    except UnicodeDecodeError:
        payload["line_base64"] = base64.b64encode(piece.data).decode()
    eol = piece.eol.decode()
    if eol != _DEFAULT_EOL:
        payload["eol"] = eol
    return payload


def line_bytes(payload: Mapping[str, object]) -> bytes:
    """Give the bytes that an event's payload was made of, terminator included.

    payload: as `line_payload` made it, or as it was read back from an aggregator. The bytes belong
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
