"""One publisher, one event at a time, and one reader of the topic's stream: how long each waits.

    python -m benchmarks.delay_client PORT EVENTS

Both are in this process, so that one clock times them: from when a publish is sent until its answer
has come, and until its event has come to the reader. The next one is sent when both have come.
"""

import select
import socket
import sys
import time
from collections.abc import Sequence

from benchmarks.client_result import NotServed, report
from benchmarks.driving import length_of, request
from benchmarks.stream_sockets import BLOCK_END, open_stream, read_first_block
from benchmarks.workload import Workload, batches

WORKLOAD = Workload(batch=1, connections=1, duplicates=0, topics=1)

_TOPIC = "topic-0"
_FIRST = 50
"""Events that are not counted, while all grows warm."""

_LIMIT_S = 30.0


class _Pair:
    """A connection that publishes, and one that follows."""

    def __init__(self, port: int) -> None:
        self._publishes = socket.create_connection(("127.0.0.1", port))
        self._publishes.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._follows = open_stream(port, _TOPIC, "now")
        read_first_block(self._follows)
        self._poll = select.epoll()
        for each in (self._publishes, self._follows):
            self._poll.register(each.fileno(), select.EPOLLIN)

    def publish(self, sent: bytes, event_id: bytes) -> tuple[float, float]:
        """Publish an event; returns the times to its answer and to itself, in seconds."""
        answer = block = b""
        answered_s = came_s = 0.0
        begun = time.perf_counter()
        self._publishes.sendall(sent)
        while not (answered_s and came_s):
            ready = self._poll.poll(_LIMIT_S)
            now = time.perf_counter() - begun
            if not ready:
                raise SystemExit(f"of an event came {answer!r} and {block!r}")
            for number, _ in ready:
                if number == self._publishes.fileno():
                    answer += self._taken(self._publishes)
                    answered_s = now if len(answer) >= length_of(answer) > 0 else 0.0
                else:
                    block += self._taken(self._follows)
                    came_s = now if BLOCK_END in block and event_id in block else 0.0
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"a publish was answered {answer!r}")
        return answered_s, came_s

    def _taken(self, connection: socket.socket) -> bytes:
        piece = connection.recv(1 << 16)
        if not piece:
            raise SystemExit("a connection has ended")
        return piece


def main(port: int, events: int) -> None:
    """Publish, and report the times of each event in seconds."""
    try:
        pair = _Pair(port)
    except NotServed as error:
        report(not_served=str(error))
        return
    times: Sequence[tuple[float, float]] = [
        pair.publish(request(batch.body()), batch.rows[0].event_id.encode())
        for batch in batches(WORKLOAD, _FIRST + events)
    ]
    answered, came = zip(*times[_FIRST:], strict=True)
    report(answers_s=answered, events_s=came)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
