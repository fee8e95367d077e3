"""A reader of one topic from its start that parses every event, as a user's program would.

    python -m benchmarks.reading_client PORT TOPIC EVENTS pages|lines|blocks

- `pages`: pages of 5,000 by their `Link`, each parsed as one array.
- `lines`: NDJSON, each line parsed on its own.
- `blocks`: NDJSON, the whole lines of each piece that came parsed as one array, which spares a
  call an event.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote, urljoin

from benchmarks.client_result import NotServed, report

Events = list[dict[str, Any]]

PAGE = 5_000
NDJSON = "application/x-ndjson"

_PIECE_BYTES = 1 << 20
_LIMIT_S = 60.0


def pages(connection: HTTPConnection, topic: str) -> Iterator[Events]:
    """Read pages by their `Link`."""
    target = f"/events?topic={quote(topic)}&after=0&limit={PAGE}"
    while target:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"{target} was answered {response.status}: {body[:200]!r}")
        yield json.loads(body)
        link = response.headers["Link"]
        target = urljoin(target, link[1 : link.index(">")]) if link else ""


def lines(connection: HTTPConnection, topic: str) -> Iterator[Events]:
    """Read NDJSON and parse line by line."""
    for text in _whole_lines(_stream(connection, topic)):
        yield [json.loads(line) for line in text.decode().splitlines()]


def blocks(connection: HTTPConnection, topic: str) -> Iterator[Events]:
    """Read NDJSON and parse all whole lines of a piece at once."""
    for text in _whole_lines(_stream(connection, topic)):
        # No line holds a newline but its last, so this is an array of them.
        yield json.loads(b"[%b]" % text[:-1].replace(b"\n", b","))


def _stream(connection: HTTPConnection, topic: str) -> HTTPResponse:
    connection.request("GET", f"/events?topic={quote(topic)}", headers={"Accept": NDJSON})
    response = connection.getresponse()
    if response.status != 200 or response.headers.get_content_type() != NDJSON:
        raise NotServed("the server does not answer NDJSON")
    return response


def _whole_lines(response: HTTPResponse) -> Iterator[bytes]:
    """Yield what comes, cut behind the last newline."""
    rest = b""
    while piece := response.read1(_PIECE_BYTES):
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
    if rest:
        raise SystemExit(f"the last line has no end: {rest[-100:]!r}")


WAYS: Mapping[str, Callable[[HTTPConnection, str], Iterator[Events]]] = {
    "pages": pages,
    "lines": lines,
    "blocks": blocks,
}


def check_offsets(events: Events, read: int) -> int:
    """Check that events follow one another without a gap.

    Args:
        events: with their offsets.
        read: the number of events before them.

    Returns:
        The number of events with these.
    """
    upto = read + len(events)
    if [event["offset"] for event in events] != list(range(read + 1, upto + 1)):
        raise SystemExit(f"the events behind offset {read} are not the next ones")
    return upto


def main(port: int, topic: str, expected: int, way: str) -> None:
    """Read the topic, check every offset and report the time it took."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    connection.connect()
    read = 0
    cpu_s, begun = time.process_time(), time.perf_counter()
    try:
        for events in WAYS[way](connection, topic):
            read = check_offsets(events, read)
    except NotServed as error:
        report(not_served=str(error))
        return
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    if read != expected:
        raise SystemExit(f"{read} events could be read, {expected} are stored")
    report(seconds=seconds, cpu_s=cpu_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
