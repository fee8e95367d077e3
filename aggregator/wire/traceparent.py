"""The header `traceparent` of W3C Trace Context: which span of which trace a request belongs to."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_FORMAT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)


class Traceparent(NamedTuple):
    """The sender's span: its trace in 32 and its own id in 16 hexadecimal digits, in lower case."""

    trace_id: str
    span_id: str
    flags: int
    """8 bits; of these 1 means that the sender may have recorded its span."""


def parse_traceparent(sent: Sequence[str]) -> Traceparent | None:
    """The sender's span; None if there is no valid one, which is no error.

    A later version than 00 may have more behind its first four fields, which are read as ever.

    Args:
        sent: every `traceparent` of the request; more than one is as good as none.
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
