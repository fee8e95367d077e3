"""A reader of one topic from its start to its head: its stream, or NDJSON, with the same effort.

    python -m benchmarks.stream_client PORT TOPIC EVENTS stream|lines

It counts the events of each piece that comes, and looks at the offset of the last one. A stream is
read until it says that it has caught up, NDJSON to its end.
"""

import re
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import NamedTuple
from urllib.parse import quote

from benchmarks.client_result import NotServed, report
from benchmarks.reading_client import NDJSON
from benchmarks.stream_sockets import CAUGHT_UP, EVENT_STREAM

_PIECE_BYTES = 1 << 20
_KEPT_BYTES = 1 << 10
"""What is kept of the end of a piece: more than the last event and what follows it."""

_LIMIT_S = 60.0
_FIELD = b'"offset":'
_OFFSET = re.compile(_FIELD + rb"(\d+),")


class Way(NamedTuple):
    """A way to read a topic from its start."""

    media_type: str
    query: str
    end: bytes
    """What is last in its answer, if that does not end by itself."""


WAYS: Mapping[str, Way] = {
    "stream": Way(EVENT_STREAM, "&from=start", CAUGHT_UP),
    "lines": Way(NDJSON, "", b""),
}


def _ask(connection: HTTPConnection, topic: str, way: Way) -> HTTPResponse:
    target = f"/events?topic={quote(topic)}{way.query}"
    connection.request("GET", target, headers={"Accept": way.media_type})
    response = connection.getresponse()
    if response.status != 200 or response.headers.get_content_type() != way.media_type:
        raise NotServed(f"the server does not answer {way.media_type}")
    return response


def read(response: HTTPResponse, end: bytes) -> tuple[int, int]:
    """Read to the end; returns the number of events, and the offset of the last one."""
    events, kept = 0, b""
    while piece := response.read1(_PIECE_BYTES):
        events += piece.count(_FIELD)
        # The field may lie across the end of a piece.
        seam = kept[1 - len(_FIELD) :] + piece[: len(_FIELD) - 1]
        events += seam.count(_FIELD)
        kept = kept[-_KEPT_BYTES:] + piece if len(piece) < _KEPT_BYTES else piece[-_KEPT_BYTES:]
        if end and end in kept:
            break
    return events, int(_OFFSET.findall(kept)[-1])


def main(port: int, topic: str, expected: int, how: str) -> None:
    """Read the topic, check what came, and report the time it took."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    connection.connect()
    cpu_s, begun = time.process_time(), time.perf_counter()
    try:
        found = read(_ask(connection, topic, WAYS[how]), WAYS[how].end)
    except NotServed as error:
        report(not_served=str(error))
        return
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    if found != (expected, expected):
        raise SystemExit(f"{found} are events and the last offset, {expected} are stored")
    report(seconds=seconds, cpu_s=cpu_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
