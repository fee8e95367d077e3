"""Many streams at once for which nothing comes, and that cost their client nothing.

    python -m benchmarks.idle_client PORT STREAMS SECONDS TOPIC...

They are opened evenly in so many seconds, or faster where that is 0. It says when all of them are
at the head, and goes on until its standard input ends. Then it reports how many are open.
Heartbeats stay in the kernel.
"""

import sys
import time
from contextlib import ExitStack
from itertools import cycle, islice
from socket import socket

from benchmarks.client_result import NotServed, report
from benchmarks.stream_sockets import BLOCK_END, CAUGHT_UP, open_stream, read_first_block

_AT_ONCE = 50
"""Streams that are asked for before the first of them has its answer."""

_TAKEN_BYTES = 1 << 16


def _is_open(connection: socket) -> bool:
    """Return whether nothing came of a stream but heartbeats."""
    connection.settimeout(0)
    try:
        while came := connection.recv(_TAKEN_BYTES):
            if came.strip(b"1234567890abcdef:\r\n"):
                raise SystemExit(f"an idle stream had {came[:200]!r}")
    except BlockingIOError:
        return True
    return False


def main(port: int, streams: int, over_s: float, topics: list[str]) -> None:
    """Keep streams open until standard input ends."""
    names = list(islice(cycle(topics), streams))
    begun = time.monotonic()
    with ExitStack() as stack:
        opened: list[socket] = []
        for begin in range(0, streams, _AT_ONCE):
            time.sleep(max(0.0, begun + over_s * begin / streams - time.monotonic()))
            asked = [
                stack.enter_context(open_stream(port, topic, "now"))
                for topic in names[begin : begin + _AT_ONCE]
            ]
            for each in asked:
                try:
                    block = read_first_block(each)
                except NotServed as error:
                    report(not_served=str(error))
                    return
                if CAUGHT_UP not in block or block.count(BLOCK_END) > 1:
                    raise SystemExit(f"an idle stream begins with more: {block[-200:]!r}")
            opened += asked
        report(ready=True)
        sys.stdin.buffer.read()
        report(open=sum(map(_is_open, opened)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
