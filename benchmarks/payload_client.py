"""Readers of large payloads, all at once: quick ones, and ones that take their time.

    python -m benchmarks.payload_client PORT TOPIC EVENTS READERS pages|lines

Each reads the whole topic: pages by their `Link`, or NDJSON. Every other reader takes 256 KiB and
then pauses for 5 ms. One that is refused (503) or cut off asks for the same again.
"""

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import quote, urljoin

from benchmarks.client_result import NotServed, report
from benchmarks.reading_client import NDJSON, PAGE

_SLOW_PIECE_BYTES = 256 * 1024
_SLOW_PAUSE_S = 0.005
_REFUSED_PAUSE_S = 0.1
_PIECE_BYTES = 1 << 20
_LIMIT_S = 120.0
_FIELD = b'"offset":'


class Reader:
    """A client that reads a whole topic.

    Args:
        port: of the server.
        topic: the topic.
        lines: read NDJSON, and not pages.
        slow: pause behind each piece.
    """

    def __init__(self, port: int, topic: str, *, lines: bool, slow: bool) -> None:
        self.events = 0
        self.counts: Counter[str] = Counter()
        """How often it was `refused` and `cut_off`."""
        self._port = port
        self._topic = quote(topic)
        self._lines = lines
        self._slow = slow

    def read(self) -> None:
        """Read to the end.

        Raises:
            NotServed: the server does not answer NDJSON.
        """
        target = f"/events?topic={self._topic}&after=0"
        target += "" if self._lines else f"&limit={PAGE}"
        while target:
            target = self._read_on(target)

    def _read_on(self, target: str) -> str:
        """Read over one connection as far as it goes; returns where to go on, "" at the end."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_LIMIT_S)
        try:
            while target:
                accept = NDJSON if self._lines else "application/json"
                connection.request("GET", target, headers={"Accept": accept})
                response = connection.getresponse()
                if response.status == 503:
                    self.counts["refused"] += 1
                    response.read()
                    time.sleep(_REFUSED_PAUSE_S)
                    continue
                if response.status != 200:
                    raise SystemExit(f"{target} was answered {response.status}")
                if self._lines and response.headers.get_content_type() != NDJSON:
                    raise NotServed("the server does not answer NDJSON")
                events = self._events(response)
                self.events += events
                link = response.headers["Link"]
                target = urljoin(target, link[1 : link.index(">")]) if link else ""
        except (HTTPException, ConnectionError):
            self.counts["cut_off"] += 1
        finally:
            connection.close()
        return target

    def _events(self, response: HTTPResponse) -> int:
        """Read a body and return the number of its events."""
        events, end = 0, b""
        while piece := response.read1(_SLOW_PIECE_BYTES if self._slow else _PIECE_BYTES):
            # The field may lie across the end of a piece.
            piece = end + piece
            events += piece.count(_FIELD)
            end = piece[1 - len(_FIELD) :]
            if self._slow:
                time.sleep(_SLOW_PAUSE_S)
        if response.length:
            raise ConnectionError("the answer was cut off")
        response.read()
        return events


def main(port: int, topic: str, expected: int, readers: int, how: str) -> None:
    """Read with all of them, check that each has every event, and report the time it took."""
    clients = [
        Reader(port, topic, lines=how == "lines", slow=bool(number % 2))
        for number in range(readers)
    ]
    begun = time.perf_counter()
    try:
        with ThreadPoolExecutor(readers) as pool:
            for ended in [pool.submit(client.read) for client in clients]:
                ended.result()
    except NotServed as error:
        report(not_served=str(error))
        return
    seconds = time.perf_counter() - begun
    for client in clients:
        if client.events != expected:
            raise SystemExit(f"{client.events} events could be read, {expected} are stored")
    counts = sum((client.counts for client in clients), Counter())
    report(seconds=seconds, refused=counts["refused"], cut_off=counts["cut_off"])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
