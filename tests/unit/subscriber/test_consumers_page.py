"""What docs/use/consumers.md shows runs, and docs/use/subscriber.md has every public name."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg
import pytest
from support.backends import Database
from support.http import Client
from support.library import until_leased, url_of, within
from support.load import until
from support.subscribing import counts, fill, look
from support.talking import get_json, publish

import subscriber
from subscriber import BlockingSubscriber, HandlerUnavailable, SubscriptionError, checkpoint

USE = Path(__file__).parents[3] / "docs" / "use"
PAGE = (USE / "consumers.md").read_text(encoding="utf-8")
REFERENCE = (USE / "subscriber.md").read_text(encoding="utf-8")
FOLLOW = (USE / "follow.md").read_text(encoding="utf-8")
BILLING, SHOP, MAILS, TOTALS, COUNTS, INVOICES, TESTING = re.findall(
    r"```python\n(.*?)```", PAGE, re.DOTALL
)


class Shown:
    """A block of a page, run: its names, and what it prints."""

    def __init__(self, block: str, page: str = "consumers.md") -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"__name__": "page", "print": self._print}
        exec(compile(block, page, "exec"), self.names)

    def _print(self, *values: object) -> None:
        self.lines.append(" ".join(map(str, values)))

    def call(self, name: str, *arguments: object) -> Coroutine[Any, Any, None]:
        """A function of it, called."""
        made: Callable[..., Coroutine[Any, Any, None]] = self.names[name]
        return made(*arguments)


async def ended(running: "asyncio.Task[None]") -> None:
    """Stop something that goes on until it is stopped."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_shop_and_the_bills(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "billing.db"
    await within(Shown(SHOP).call("main", url_of(client), 900))
    running = asyncio.create_task(Shown(BILLING).call("main", url_of(client), str(path)))
    await until_leased(client, [900, 0, 0, 0])
    await ended(running)
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT count(*), count(DISTINCT event_id), sum(total) FROM bills")
        assert rows.fetchall() == [(900, 900, 900.0)]
    database.close()


async def test_mails(client: Client) -> None:
    await publish(client, [event() | {"event_id": f"order-{n}"} for n in range(3)])
    await fill(client, 1, payload={"total": 0})
    shown = Shown(MAILS)
    running = asyncio.create_task(shown.call("mails", url_of(client)))
    await until_leased(client, [3, 1, 0, 0], name="mails")
    await ended(running)
    assert sorted(shown.lines) == [f"mail: thank you for order-{n}" for n in range(3)]
    (letter,) = await get_json(client, "/subscriptions/mails/dead")
    assert letter["last_error"] == "there is nothing to pay"


@pytest.mark.parametrize("backend", ["postgres"])
async def test_totals(client: Client, database: Database) -> None:
    await fill(client, 250, payload={"total": 2})
    for _ in range(2):
        await within(Shown(TOTALS).call("totals", url_of(client), database.dsn))
    connection = await asyncpg.connect(database.dsn)
    assert [row["total"] for row in await connection.fetch("SELECT total FROM totals")] == [500]
    await connection.close()


@pytest.mark.parametrize("backend", ["postgres"])
async def test_totals_whose_database_goes_away(client: Client, database: Database) -> None:
    await fill(client, 1, payload={"total": 2})
    names = Shown(TOTALS).names

    @asynccontextmanager
    async def lose(connection: Any, *arguments: Any) -> AsyncIterator[Any]:
        other = await asyncpg.connect(database.dsn)
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await other.close()
        async with checkpoint(connection, *arguments) as fresh:
            yield fresh

    names["checkpoint"] = lose
    with pytest.raises(HandlerUnavailable, match="the database is away"):
        await within(names["totals"](url_of(client), database.dsn))
    seen = await look(client, "totals")
    assert (counts(seen), seen["redelivered"]) == ([0, 0, 0, 1], 0)


async def test_counts_without_asyncio(client: Client, tmp_path: Path) -> None:
    await fill(client, 30, source="shop")
    path = tmp_path / "counts.db"
    names = Shown(COUNTS).names
    made: list[BlockingSubscriber] = []

    class Made(BlockingSubscriber):
        def __enter__(self) -> Self:
            made.append(self)
            return super().__enter__()

    names["BlockingSubscriber"] = Made
    consuming = asyncio.create_task(asyncio.to_thread(names["counts"], url_of(client), str(path)))
    with sqlite3.connect(path) as database:
        await until(lambda: _rows(database) == [("shop", 30)])
    database.close()
    made[0].stop()
    await within(consuming)
    assert counts(await look(client, "counts")) == [30, 0, 0, 0]


def _rows(database: sqlite3.Connection) -> list[tuple[str, int]]:
    try:
        return database.execute("SELECT * FROM counts").fetchall()
    except sqlite3.OperationalError:
        return []


async def test_invoices(client: Client) -> None:
    await fill(client, 20, payload={"total": 2})
    shown = Shown(INVOICES)
    await within(shown.call("invoices", url_of(client)))
    # All of it again: as after a crash before any acknowledgement.
    await client.post("/subscriptions/invoicing/seek", json={"from": "start"})
    await within(shown.call("invoices", url_of(client)))
    counted = (await get_json(client, "/stats"))["topics"]["invoices"]
    assert (counted["received"], counted["unique_processed"], counted["conflicts"]) == (40, 20, 0)
    events = await get_json(client, "/events?topic=invoices&after=0")
    assert {event["event_id"] for event in events} == {
        f"orders/{offset}/invoice" for offset in range(1, 21)
    }
    assert counts(await look(client, "invoicing")) == [20, 0, 0, 0]


async def test_a_test_of_a_handler() -> None:
    await within(Shown(TESTING).call("test_an_order_without_a_total_is_retried_and_then_dead"))


async def test_the_first_lines_of_the_reference(client: Client) -> None:
    block, *others = re.findall(r"```python\n(.*?)```", REFERENCE, re.DOTALL)
    assert len(others) == 1
    await publish(client, [event()])
    shown = Shown(block, "subscriber.md")
    running = asyncio.create_task(shown.call("main", url_of(client)))
    await until_leased(client, [1, 0, 0, 0])
    await ended(running)
    assert shown.lines == ["orders 1 {'total': 42.1}"]


def event() -> dict[str, object]:
    """An order."""
    return {
        "topic": "orders",
        "event_id": "a",
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "shop",
        "payload": {"total": 42.1},
    }


def test_every_public_name_is_on_a_page() -> None:
    pages = REFERENCE + FOLLOW
    names = set(subscriber.__all__) - {"Following"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", pages)] == []


def test_every_error_has_its_row() -> None:
    errors = {
        name
        for name in subscriber.__all__
        if isinstance(kind := getattr(subscriber, name), type)
        and issubclass(kind, SubscriptionError)
    }
    rows = set(re.findall(r"^\| `(\w+)` \|", REFERENCE, re.MULTILINE))
    assert rows == errors - {"SubscriptionError"}


def test_sentences_are_numbered_one_after_the_other() -> None:
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", REFERENCE, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
