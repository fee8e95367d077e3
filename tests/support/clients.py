"""Every client of an aggregator, each used once with the same credentials."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from publisher import Credentials, Event, Publisher, RetryPolicy, publish
from publisher.load.read_back import Reader
from publisher.retry import Retry
from subscriber import BlockingSubscriber, ReconnectPolicy, Subscriber, Wait, follow

LIMIT_S = 30.0
EVENT = Event("orders", {"total": 1}, source="shop", event_id="a")
PUBLISHING = RetryPolicy(first_wait_s=0.001, max_wait_s=0.001, deadline_s=LIMIT_S)
CONSUMING = ReconnectPolicy(first_wait_s=0.001, max_wait_s=0.001, give_up_after_s=LIMIT_S)

Waits = list[tuple[str, float]]
"""The reason of each wait, and its seconds."""

Use = Callable[[str, Credentials, Waits], Awaitable[None]]


class ClientKind(NamedTuple):
    """A client.

    Args:
        name: of it.
        use: sends a request to a URL with some credentials; raises what the client raises.
        tells_waits: whether it tells of its waits.
    """

    name: str
    use: Use
    tells_waits: bool = True


async def _publisher(url: str, credentials: Credentials, waits: Waits) -> None:
    def note(retry: Retry) -> None:
        waits.append((retry.reason, retry.wait_s))

    async with Publisher(
        url, credentials=credentials, policy=PUBLISHING, on_retry=note
    ) as publisher:
        await publisher.publish(EVENT)


async def _publish(url: str, credentials: Credentials, waits: Waits) -> None:
    (outcome,) = await asyncio.to_thread(
        publish, url, [EVENT], credentials=credentials, policy=PUBLISHING
    )
    if isinstance(outcome, Exception):
        raise outcome


async def _reader(url: str, credentials: Credentials, waits: Waits) -> None:
    async with aiohttp.ClientSession(connector=credentials.connector()) as session:
        await Reader(session, url, LIMIT_S, credentials).stats()


async def _follow(url: str, credentials: Credentials, waits: Waits) -> None:
    async with follow(
        url,
        "orders",
        credentials=credentials,
        until_caught_up=True,
        policy=CONSUMING,
        on_wait=_noting(waits),
    ) as events:
        async for _ in events:
            raise AssertionError("there is no event")


async def _subscriber(url: str, credentials: Credentials, waits: Waits) -> None:
    async with Subscriber(
        url, "billing", credentials=credentials, policy=CONSUMING, on_wait=_noting(waits)
    ):
        pass


async def _blocking(url: str, credentials: Credentials, waits: Waits) -> None:
    def enter() -> None:
        with BlockingSubscriber(
            url, "billing", credentials=credentials, policy=CONSUMING, on_wait=_noting(waits)
        ):
            pass

    await asyncio.to_thread(enter)


def _noting(waits: Waits) -> Callable[[Wait], None]:
    def note(wait: Wait) -> None:
        waits.append((wait.reason, wait.wait_s))

    return note


CLIENTS = [
    ClientKind("Publisher", _publisher),
    ClientKind("publish", _publish, tells_waits=False),
    ClientKind("load's reader", _reader, tells_waits=False),
    ClientKind("follow", _follow),
    ClientKind("Subscriber", _subscriber),
    ClientKind("BlockingSubscriber", _blocking),
]
