"""The parser of the header `traceparent` of W3C Trace Context."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_FORMAT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)


class Traceparent(NamedTuple):
    """The span of the sender.

    Args:
        trace_id: the id of its trace, 32 lower-case hexadecimal digits.
        span_id: its own id, 16 lower-case hexadecimal digits.
        flags: 8 bits, of which 1 means that the sender may have recorded its span.
    """

    trace_id: str
    span_id: str
    flags: int


def parse_traceparent(sent: Sequence[str]) -> Traceparent | None:
    """Parse the span of the sender.

    A later version than 00 may have more fields behind the first four, which are read as before.

    Args:
        sent: the values of all `traceparent` headers of the request.

    Returns:
        The span; None if there is no valid one or more than one header, which is no error.
    """
    if len(sent) != 1:
        return None
    found = _FORMAT.fullmatch(sent[0])
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    return Traceparent(trace_id, span_id, int(flags, 16))
