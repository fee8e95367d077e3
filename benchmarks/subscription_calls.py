"""Subscriptions that are made for a measurement, and looked at behind it."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.client_result import NotServed
from benchmarks.driving import Connection, connect, get
from benchmarks.measuring import WrongCounts

_COUNTS = ("acknowledged", "dead", "leased", "waiting", "redelivered")


async def make(port: int, name: str, settings: Mapping[str, object]) -> None:
    """Make a subscription.

    Args:
        port: of the server.
        name: of the subscription, a new one.
        settings: its settings.

    Raises:
        NotServed: the server knows no subscriptions.
        WrongCounts: it was not made.
    """
    body = json.dumps(settings).encode()
    head = (
        f"PUT /subscriptions/{name} HTTP/1.1\r\nHost: benchmark\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, answer = await _exchange(port, head.encode() + body)
    if status in (404, 405):
        raise NotServed("the server knows no subscriptions")
    if status != 201:
        raise WrongCounts(f"subscription {name} was not made: {status}, {answer[:300]!r}")


async def check(port: int, name: str, acknowledged: int, left: int = 0) -> None:
    """Check the second law, and that exactly these events are acknowledged and left.

    Args:
        port: of the server.
        name: of the subscription.
        acknowledged: the number of events that its consumers have settled.
        left: the number of events that nobody has leased.

    Raises:
        WrongCounts: the counts are others.
    """
    status, body = await _exchange(port, get(f"/subscriptions/{name}"))
    if status != 200:
        raise WrongCounts(f"subscription {name} was answered {status}: {body[:300]!r}")
    found: dict[str, Any] = json.loads(body)
    for counts in (found, *found["topics"].values()):
        settled = counts["acknowledged"] + counts["dead"]
        if counts["head"] - counts["start"] != settled + counts["leased"] + counts["waiting"]:
            raise WrongCounts(f"subscription {name}: the second law does not hold in {counts}")
    counted = tuple(found[count] for count in _COUNTS)
    if counted != (acknowledged, 0, 0, left, 0) or found["lag"]["events"] != left:
        raise WrongCounts(
            f"subscription {name}: {', '.join(_COUNTS)} are {counted} and the lag is "
            f"{found['lag']['events']}; {acknowledged} were acknowledged and {left} are left"
        )


async def _exchange(port: int, sent: bytes) -> tuple[int, bytes]:
    connection: Connection
    (connection,) = await connect([port], 1)
    try:
        return await connection.exchange(sent)
    finally:
        connection.close()
