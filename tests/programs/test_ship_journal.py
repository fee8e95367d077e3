"""A real `ship --format journal`, killed and started again, over a real journal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from support.journals import SECOND_BOOT, entries, messages, write
from support.load import LIMIT_S, session
from support.processes import Aggregator
from support.ship_process import ShipProcess, closing_all

Run = Callable[..., Aggregator]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as client:
        yield client


@pytest.fixture
def url(run_aggregator: Run, tmp_path: Path) -> str:
    database = tmp_path / "events.db"
    return run_aggregator("--backend", "sqlite", "--database", str(database)).url


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A directory for journals, beside processes that go on."""
    directory = tmp_path / "journal"
    directory.mkdir()
    return directory


async def until_received(shipper: ShipProcess, events: int) -> None:
    async with asyncio.timeout(LIMIT_S / 3):
        while await shipper.received() < events:  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0.02)


async def test_journal_is_stored_once_however_the_shipper_ends(
    client: aiohttp.ClientSession, url: str, journal: Path, tmp_path: Path
) -> None:
    write(journal / "a.journal", entries(range(100)))
    shipper = ShipProcess(client, url, tmp_path, "journal", "--format", "journal", journal)
    async with closing_all(shipper) as shippers:
        await shippers.start()
        await shipper.until_stored(100)
        await shipper.kill()
        write(journal / "a.journal", entries(range(100, 200)))
        await shipper.start()
        await shipper.until_stored(200)
        await shipper.stop()
        received = await shipper.received()
        write(journal / "a.journal", entries(range(200, 300), SECOND_BOOT))
        await shipper.start()
        await shipper.until_stored(300)
        # Stopped in order, it goes on behind the last entry.
        assert await shipper.received() == received + 100
        await shipper.stop()
        events = await shipper.events()
    assert [event["payload"]["MESSAGE"] for event in events] == messages(*range(300))
    assert {event["source"] for event in events} == {"-:a.service"}
    assert events[0]["timestamp"] == "2023-11-14T22:13:20.000000Z"
    assert shipper.said() == []


async def test_copied_journal_is_the_same_entries(
    client: aiohttp.ClientSession, url: str, journal: Path, tmp_path: Path
) -> None:
    write(journal / "a.journal", entries(range(50), REPEATED=["one", "two"]))
    copy = tmp_path / "copy"
    copy.mkdir()
    write(copy / "b.journal", entries(range(50), REPEATED=["two", "one"]))
    for number, directory in enumerate((journal, copy)):
        shipper = ShipProcess(
            client, url, tmp_path / str(number), "copied", "--format", "journal", directory
        )
        (tmp_path / str(number)).mkdir()
        async with closing_all(shipper) as shippers:
            await shippers.start()
            await until_received(shipper, 50 * (number + 1))
            await shipper.stop()
    assert len(await shipper.events()) == 50
