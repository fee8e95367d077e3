"""Values that keep the rules of requests or break them, and what becomes of them."""

from collections.abc import Callable
from typing import Any

from aggregator.wire.errors import WireError
from subscriber.errors import SubscriptionRefused

NAMES = ["a", "a.b", "a" * 249, "a" * 250, "", " ", "é", "a\n", "a/b", "A-_.0", "..", 7, None, True]
SOURCES = ["shop", "é", "x" * 256, "x" * 257, "a\tb", "", "\x7f", "\ud800", 'a"\\b', 7, None]
NUMBERS = [
    *(0, 1, 2, 999, 1000, 43_200_000, 43_200_001, 86_400_000, 86_400_001, 100_000, 100_001),
    *(1_000_000, 1_000_001, -1, 1.0, 1.5, True, None, "1", [1], 2**63 - 1, 2**63),
]
TIMES = [
    *("5m", "0s", "3w", "5 m", "-5m", "9" * 12 + "d", "9" * 13 + "s", "now", "", 5, None),
    *("2026-01-31", "20260131", "2026-W05-6", "2026-02-30", "0001-01-01", "10000-01-01"),
    *("2026-01-31T12:00:00Z", "2026-01-31 12:00+01:00", "20260131T120000Z", "2026-01-31T24:00:00Z"),
    *("2026-01-31T12:00:00.1234567Z", "2026-01-31t12:00:00,5z", "2026-01-31T12:00:60Z"),
    *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-01-31T12:00:00+24:00"),
]


def outcome(parse: Callable[[], Any]) -> Any:
    """What is parsed, or that it is refused."""
    try:
        return parse()
    except (SubscriptionRefused, WireError, ValueError):
        return "refused"
