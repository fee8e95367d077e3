"""Log lines as an aggregator writes them, made for tests of what reads them."""

import json
from datetime import datetime, timedelta
from typing import Any

_BEGIN = datetime(2026, 1, 31, 12, 0, 0)  # noqa: DTZ001 - written with a Z behind it


def _line(event: str, at_s: float, level: str = "info", **fields: Any) -> str:
    timestamp = (_BEGIN + timedelta(seconds=at_s)).isoformat(timespec="microseconds") + "Z"
    return json.dumps({**fields, "event": event, "level": level, "timestamp": timestamp})


def request(at_s: float, duration_ms: float, **changes: Any) -> str:
    """The line of a request."""
    fields: dict[str, Any] = {
        "request_id": f"r-{at_s}",
        "method": "POST",
        "path": "/publish",
        "status": 200,
        "duration_ms": duration_ms,
    }
    return _line("request", at_s, **(fields | changes))


def flush(at_s: float, **topics: dict[str, int]) -> str:
    """The line of a flush; verdicts by topic."""
    events = sum(sum(counts.values()) for counts in topics.values())
    return _line("flush", at_s, events=events, requests=1, duration_ms=2.5, topics=topics)


def warning(at_s: float, event: str, **fields: Any) -> str:
    """The line of something wrong."""
    return _line(event, at_s, "warning", **fields)


def suppressed(at_s: float, of: str, count: int, level: str = "info") -> str:
    """The line that counts those of a kind that were suppressed last."""
    return _line("log_lines_suppressed", at_s, level, of=of, suppressed=count)
