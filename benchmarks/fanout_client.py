"""Many readers of one topic's stream, who parse nothing, so that their speed is the server's.

    python -m benchmarks.fanout_client PORT READERS TOPIC LAST start|now RECORD

Each reads until it has the event at the offset LAST. From `now` they say when all of them are at
the head, and the time begins with the first byte that comes then. The bytes of the first reader are
kept in the file RECORD, for `benchmarks.bare_streams` to write the same.
"""

import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.client_result import NotServed, report
from benchmarks.stream_sockets import open_stream, read_first_block, stream_request

_BUFFER_BYTES = 1 << 18
_KEPT_BYTES = 1 << 10
"""What is kept of the end of what a reader had: more than the last event and what follows it."""

_END_OF_CHUNK = b"\n\n\r\n"
_LIMIT_S = 60.0


class _Readers:
    def __init__(self, connections: Sequence[socket.socket], last: int) -> None:
        self.bytes = 0
        self.record = bytearray()
        self._marker = b"id: %d\n" % last
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._first = connections[0].fileno()
        self._ends: dict[int, bytes] = {each.fileno(): b"" for each in connections}
        self._poll = select.epoll()
        self._sockets = {each.fileno(): each for each in connections}
        for each in connections:
            each.settimeout(0)
            self._poll.register(each.fileno(), select.EPOLLIN)

    def read(self) -> float:
        """Read until each has the last event; returns when the first byte came."""
        first_at = 0.0
        left = set(self._ends)
        while left:
            ready = self._poll.poll(_LIMIT_S)
            if not ready:
                raise SystemExit(f"nothing came for {_LIMIT_S:g} s, {len(left)} readers wait")
            first_at = first_at or time.perf_counter()
            for number, _ in ready:
                if self._take(number):
                    left.discard(number)
        return first_at

    def _take(self, number: int) -> bool:
        """Take what one of them has; returns whether that is all."""
        count = self._sockets[number].recv_into(self._buffer)
        if not count:
            raise SystemExit("a stream ended ahead of its last event")
        self.bytes += count
        if number == self._first:
            self.record += self._view[:count]
        begin = max(0, count - _KEPT_BYTES)
        end = self._ends[number] = (self._ends[number] + self._view[begin:count])[-_KEPT_BYTES:]
        last = end.find(self._marker)
        if last < 0 or end.find(_END_OF_CHUNK, last) < 0:
            return False
        self._poll.unregister(number)
        return True


def main(port: int, count: int, topic: str, last: int, start: str, record: Path) -> None:
    """Read with all of them, and report how long it took and how many bytes came."""
    try:
        if start == "now":
            connections = [open_stream(port, topic, start) for _ in range(count)]
            begun_with = [read_first_block(each) for each in connections]
        else:
            with open_stream(port, topic, start) as first:
                read_first_block(first)
            connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    except NotServed as error:
        report(not_served=str(error))
        return
    readers = _Readers(connections, last)
    if start == "now":
        readers.record += begun_with[0]
        report(ready=True)
        begun = readers.read()
    else:
        begun = time.perf_counter()
        for each in connections:
            each.sendall(stream_request(topic, start))
        readers.read()
    seconds = time.perf_counter() - begun
    record.write_bytes(readers.record)
    report(seconds=seconds, bytes=readers.bytes, cpu_s=time.process_time())


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        int(sys.argv[4]),
        sys.argv[5],
        Path(sys.argv[6]),
    )
