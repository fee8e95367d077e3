"""Log files through the real publisher into the real aggregator, and back byte for byte."""

import asyncio
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
from support.backends import Database
from support.load import session
from support.processes import Aggregator
from yarl import URL

from publisher.ship.log_events import line_bytes

Run = Callable[..., Aggregator]


def contents() -> dict[str, bytes]:
    """Files of all the bytes that a log can hold."""
    draw = random.Random(7)
    return {
        "plain.log": b"".join(b"line %d of a plain log\n" % number for number in range(3000)),
        "windows.log": b"first\r\n\r\nlone \r in the middle\r\r\nlast\r\n",
        "noise.log": draw.randbytes(20_000),
        "odd.log": b"\0nul\0\n\n\n\xff\xfe not UTF-8\n\xf0\x9f\x98\x80 \xe2\x80\xa8\nno end",
        "long.log": b"short\n" + "é".encode() * 2_500_000 + b"\nbehind it\n",
    }


async def started(url: str, *arguments: Path | str) -> asyncio.subprocess.Process:
    """The publisher's command, under way."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "ship", "--url", url, "--topic", "logs"),
        *("--source", "{name}"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )


async def ship(url: str, *files: Path) -> str:
    """Run the publisher's command and return its closing line."""
    command = await started(url, *files)
    out, _ = await command.communicate()
    assert command.returncode == 0
    return out.decode()


async def restored(client: aiohttp.ClientSession, url: str) -> tuple[dict[str, bytes], int]:
    """The files as the log has them, and how many events it has; offsets must be dense."""
    pieces: dict[str, dict[int, bytes]] = {}
    offsets: list[int] = []
    target: URL | None = URL(f"{url}/events?topic=logs&after=0&limit=1000")
    while target is not None:
        async with client.get(target) as answer:
            events = json.loads(await answer.read())
            link = answer.headers.get("Link")
        for event in events:
            offsets.append(event["offset"])
            of_file = pieces.setdefault(event["source"], {})
            of_file[event["payload"]["position"]] = line_bytes(event["payload"])
        target = target.join(URL(link[1 : link.index(">")], encoded=True)) if link else None
    assert offsets == list(range(1, len(offsets) + 1))
    files = {name: b"".join(of[at] for at in sorted(of)) for name, of in pieces.items()}
    return files, len(offsets)


async def test_files_shipped_again_and_by_four_at_once_are_stored_once_byte_for_byte(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in contents()]
    for file in files:
        file.write_bytes(contents()[file.name])
    url = run_aggregator(*database.arguments()).url
    orders = [files[number:] + files[:number] for number in range(4)]
    async with session() as client:
        await asyncio.gather(*(ship(url, *order) for order in orders))
        back, events = await restored(client, url)
        assert back == contents()
        again = await ship(url, *files)
        assert "stored 0, " in again
        assert "conflicts 0, " in again
        async with client.get(f"{url}/stats") as answer:
            stats = await answer.json()
        assert stats["unique_processed"] == events
        assert stats["received"] == 5 * events
        assert stats["duplicate_dropped"] == 4 * events
        assert stats["conflicts"] == 0


async def test_a_publisher_killed_half_way_and_run_again_leaves_each_line_once(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    file = tmp_path / "app.log"
    lines = [b"line %d\n" % number for number in range(5000)]
    file.write_bytes(b"".join(lines))
    url = run_aggregator(*database.arguments()).url
    async with session() as client:
        command = await started(url, "--batch-events", "20", file)
        stored = 0
        while not stored:
            async with client.get(f"{url}/stats") as answer:
                stored = (await answer.json())["unique_processed"]
        command.kill()
        await command.communicate()
        await ship(url, file)
        back, events = await restored(client, url)
    assert back == {"app.log": b"".join(lines)}
    assert events == len(lines)
