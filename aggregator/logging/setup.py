"""Structured logs: JSON lines (or readable text) on a stream, without holding up the event loop.

A line is rendered where it is logged and written by a thread, so that a slow reader of
standard output costs lines, never answers; what it cost is said in a line of its own.
"""

import json
import logging
import os
import select
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime
from io import RawIOBase
from queue import SimpleQueue
from typing import Any, BinaryIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from aggregator.logging import standard_streams

MAX_WAITING_LINES = 10_000
_LINES_A_WRITE = 500

_COLLECT_S = 0.02
"""How long lines are collected for one write. Waking the thread for each line cost a third of
what a refused request costs: both want the interpreter lock."""

# Without the local variables of every frame: they hold payloads, which no log may show.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def timestamp() -> str:
    """Return the present time as a line has it, for lines that are logged together and name it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class LineWriter:
    """Writes log lines to a stream from a thread of its own; bounded, never blocks the caller.

    Args:
        stream: where lines go, better unbuffered: a buffer that a stuck thread holds at the end
            of the process ends it with an error.
    """

    def __init__(self, stream: RawIOBase | BinaryIO) -> None:
        self._stream = stream
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes | str) -> None:
        """Queue one line without its end; dropped and counted if too many wait."""
        if self._waiting.qsize() >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        self._waiting.put(
            line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits; gives up on a stuck stream after `timeout_s` seconds."""
        self._waiting.put(None)
        self._closing.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        lines: list[bytes] = []
        try:
            while True:
                line = self._waiting.get()
                if line is not None:
                    if not lines:
                        self._closing.wait(_COLLECT_S)
                    lines.append(line)
                if line is None or self._waiting.empty() or len(lines) >= _LINES_A_WRITE:
                    lines += self._loss()
                    self._put(b"".join(b"%b\n" % text for text in lines))
                    lines.clear()
                if line is None:
                    return
        except (OSError, ValueError) as error:
            # Nobody reads the log any more. The aggregator's work goes on without it.
            standard_streams.tell(f"the log can't be written any more: {error}")

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._stream.write(rest)
            if written is None:  # somebody made it non-blocking, and it is full
                select.select([], [self._stream], [])
                continue
            rest = rest[written:]
        self._stream.flush()

    def _loss(self) -> list[bytes]:
        if not self._dropped:
            return []
        dropped, self._dropped = self._dropped, 0
        return [b'{"event":"log_lines_dropped","level":"warning","count":%d}' % dropped]


class _Lines:
    """What structlog calls with a rendered line, by its level."""

    __slots__ = ("critical", "debug", "error", "info", "warning")

    def __init__(self, writer: LineWriter) -> None:
        for level in self.__slots__:
            setattr(self, level, writer.write)


def configure(stream: RawIOBase | BinaryIO, *, as_json: bool, level: str) -> LineWriter:
    """Send the logs of this process, the standard library's included, to `stream`.

    Args:
        stream: where lines go.
        as_json: one JSON object a line; otherwise readable text, on a terminal in colours unless
            the variable NO_COLOR is there and not empty (https://no-color.org).
        level: the least level to log: "debug", "info", "warning" or "error".

    Returns:
        The writer, to be closed last.
    """
    writer = LineWriter(stream)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.MaybeTimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [_tracebacks, _render_json]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty() and not os.environ.get("NO_COLOR"),
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        processors=shared + last,
        logger_factory=lambda *_: _Lines(writer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        handlers=[_ToStructlog()], level=max(threshold, logging.WARNING), force=True
    )
    return writer


def _render_json(_logger: object, _name: str, event: EventDict) -> bytes:
    try:
        return msgspec.json.encode(event, enc_hook=repr)
    except UnicodeEncodeError:
        # A lone surrogate, which stands for a byte that is not UTF-8; a log takes what comes.
        return json.dumps(event, default=repr).encode()


class _ToStructlog(logging.Handler):
    """Passes the lines of libraries that log with the standard library (aiohttp, asyncio)."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        fields: MutableMapping[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, record.getMessage(), **fields)
