"""The bytes of a line of a log from the payload of its event."""

import base64
from collections.abc import Mapping

_DEFAULT_EOL = "\n"


def line_bytes(payload: Mapping[str, object]) -> bytes:
    """Return the bytes that an event's payload was made of, terminator included.

    Args:
        payload: of an event, as it was read from an aggregator. The bytes belong at
            `payload["position"]` of the file.

    Raises:
        ValueError: this is not the payload of a line; one sentence.
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
