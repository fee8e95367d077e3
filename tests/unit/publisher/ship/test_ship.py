"""Files arrive whole, in order and once in the real application, whatever happens on the way."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.http import Client, MakeClient
from support.load import until
from support.scripted import Gate, Scripted, busy, stores_and_cuts, takes
from support.talking import read_all

from publisher.retry import RetryPolicy
from publisher.ship.checkpoint import Checkpoint
from publisher.ship.formats import Format, NdjsonFormat, TextFormat
from publisher.ship.log_events import line_bytes
from publisher.ship.opening import FileRefused
from publisher.ship.ship import Report, Target, ship, ship_stream
from publisher.ship.shipper import ShipStopped
from publisher.ship.totals import Totals

CONTENT = b"".join(b"%d caf\xc3\xa9\r\n\xff\n" % number for number in range(50)) + b"end"
PATIENT = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)


pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio", "no_descriptor_is_left")


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    """The real application."""
    return await make_client()


sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(CONTENT)
    return path


class Shipping:
    """Ships, and keeps what it was told."""

    def __init__(self, url: str, line_format: Format | None = None) -> None:
        self.target = Target(url, line_format or TextFormat("logs"), 8, PATIENT)
        self.totals = Totals()
        self.told: list[str] = []
        self.expected_bytes = 0
        self.bytes = 0

    def report(self) -> Report:
        told = self.told.append
        return Report(self.totals, told, told, self._expect, self._more, self._retry)

    def _expect(self, total_bytes: int) -> None:
        self.expected_bytes = total_bytes

    def _more(self, acknowledged_bytes: int) -> None:
        self.bytes += acknowledged_bytes

    def _retry(self, _: object) -> None:
        self.totals.retries += 1

    async def once(self, *names: Path, checkpoint: Checkpoint | None = None) -> Totals:
        await ship(names, self.target, self.report(), checkpoint=checkpoint)
        return self.totals


def rotate(log: Path, content: bytes) -> None:
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(content)


def base(client: Client) -> str:
    return str(client.make_url("/"))


async def events_of(client: Client) -> list[dict[str, Any]]:
    return await read_all(client, topic="logs", after=0)


async def content_of(client: Client, source: str = "app.log") -> bytes:
    events = await events_of(client)
    return b"".join(line_bytes(event["payload"]) for event in events if event["source"] == source)


@sqlite
async def test_a_file_arrives_whole_and_in_order_and_again_adds_nothing(
    client: Client, log: Path
) -> None:
    first = Shipping(base(client))
    expected = "sent 101 lines: stored 101, duplicates 0, conflicts 0, retries 0"
    assert str(await first.once(log)) == expected
    assert first.bytes == first.expected_bytes == len(CONTENT)
    assert await content_of(client) == CONTENT
    totals = await Shipping(base(client)).once(log, log)
    assert (totals.stored, totals.duplicates, totals.conflicts) == (0, 101, 0)
    assert await content_of(client) == CONTENT


@sqlite
async def test_a_checkpoint_leaves_out_what_was_sent_but_for_a_line_under_way(
    client: Client, log: Path, tmp_path: Path
) -> None:
    with Checkpoint.opened(tmp_path / "state", "target") as checkpoint:
        await Shipping(base(client)).once(log, checkpoint=checkpoint)
        (known,) = checkpoint.known("app.log")
        assert known.progress.position == len(CONTENT) - len(b"end")
        again = await Shipping(base(client)).once(log, checkpoint=checkpoint)
        assert (again.stored, again.duplicates, again.lines) == (0, 1, 1)
        with log.open("ab") as file:
            file.write(b" of it\nand more\n")
        more = await Shipping(base(client)).once(log, checkpoint=checkpoint)
        assert (more.stored, more.duplicates) == (2, 0)
        # The content that follows begins alike and is another one.
        rotate(log, CONTENT[:20])
        last = await Shipping(base(client)).once(log, checkpoint=checkpoint)
        assert (last.stored, last.duplicates) == (3, 0)
    assert await content_of(client) == CONTENT + b"end of it\nand more\n" + CONTENT[:20]


@sqlite
async def test_a_long_line_is_cut_and_counted_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes("é".encode() * 500_000 + b"\nend\n")
    totals = await Shipping(base(client)).once(path)
    assert await content_of(client) == path.read_bytes()
    assert str(totals).startswith("sent 2 lines as 9 events: ")


@sqlite
async def test_records_keep_their_ids_and_one_that_is_wrong_holds_up_none(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "app.ndjson"
    long = b'{"id": "long", "x": "' + b"x" * 3_000_000 + b'"}\n'
    path.write_bytes(
        b'{"id": "1", "x": 1.10}\n\nno record\n' + long + b'{"id": "\\u0000"}\n'
        b'{"id": 2}\n{"id": "1", "x": 2}\n'
    )
    shipping = Shipping(base(client), NdjsonFormat("logs", id_field="id"))
    totals = await shipping.once(path)
    events = await events_of(client)
    assert [event["event_id"] for event in events] == ["1", "2"]
    assert (totals.lines, totals.stored, totals.rejected, totals.conflicts) == (7, 2, 3, 1)
    told = [sentence.removeprefix(f"'{path}' at byte ") for sentence in shipping.told]
    assert told[0] == "24 was not sent: it is not JSON (Expecting value, character 0)"
    assert told[1] == "34 was not sent: it is longer than 1,048,576 bytes"
    assert "was rejected: " in told[2]
    assert told[3].endswith(
        "topic 'logs' has another event with the id '1' at offset 1, which is kept"
    )
    assert len(told) == 4
    assert shipping.bytes == path.stat().st_size


@sqlite
async def test_a_record_under_way_is_resumed_in_its_middle(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "app.ndjson"
    record = b'{"id": "long", "x": "' + b"x" * 3_000_000
    path.write_bytes(b'{"id": "1"}\n' + record)
    made = NdjsonFormat("logs", id_field="id")
    with Checkpoint.opened(tmp_path / "state", "target") as checkpoint:
        first = await Shipping(base(client), made).once(path, checkpoint=checkpoint)
        (known,) = checkpoint.known("app.ndjson")
        assert first.rejected == 1
        assert len(b'{"id": "1"}\n') < known.progress.position < path.stat().st_size
        with path.open("ab") as file:
            file.write(b'"}\n{"id": "2"}\n')
        second = await Shipping(base(client), made).once(path, checkpoint=checkpoint)
    assert (second.stored, second.rejected) == (1, 0)
    assert [event["event_id"] for event in await events_of(client)] == ["1", "2"]


@sqlite
async def test_each_stream_is_one_of_its_own(client: Client) -> None:
    for _ in range(2):
        reading, writing = os.pipe()
        shipping = Shipping(base(client))
        streaming = asyncio.create_task(
            ship_stream(reading, shipping.target, shipping.report(), source="stdin")
        )
        stored = len(await events_of(client))
        os.write(writing, b"done\nha")
        # What is complete is stored although the stream has not ended.
        while len(await events_of(client)) == stored:
            assert not streaming.done()
        os.write(writing, b"lf")
        os.close(writing)
        await streaming
        os.close(reading)
        assert shipping.totals.stored == 2
    assert await content_of(client, "stdin") == b"done\nhalf" * 2


async def test_lost_answers_cost_nothing(server: Scripted, log: Path) -> None:
    server.script = [stores_and_cuts, takes] * 13
    totals = await Shipping(server.url).once(log)
    assert (totals.retries, totals.stored, totals.duplicates) == (13, 0, 101)
    assert len(server.log) == 101


async def test_what_was_given_up_is_told_and_goes_on_another_time(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    # A wait past every deadline: it is given up without waiting.
    server.script = [takes] * 5 + [stores_and_cuts, busy("100000")]
    shipping = Shipping(server.url)
    with Checkpoint.opened(tmp_path / "state", "target") as checkpoint:
        with pytest.raises(ShipStopped, match=r"app\.log' from byte 230 on .* gave up after 2 tri"):
            await shipping.once(log, checkpoint=checkpoint)
        assert shipping.totals.stored == 40
        assert shipping.bytes == 230
        (known,) = checkpoint.known("app.log")
        assert known.progress.position == 230
        totals = await Shipping(server.url).once(log, checkpoint=checkpoint)
    # The request under way was stored although nobody was told.
    assert (totals.stored, totals.duplicates) == (53, 8)
    assert len(server.log) == 101


async def test_the_checkpoint_waits_for_the_answer(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    gate = Gate()
    server.script = [takes, gate]
    with Checkpoint.opened(tmp_path / "state", "target") as checkpoint:
        shipping = asyncio.create_task(Shipping(server.url).once(log, checkpoint=checkpoint))
        await gate.reached.wait()
        await until(lambda: bool(checkpoint.known("app.log")))
        (known,) = checkpoint.known("app.log")
        lines = CONTENT.splitlines(keepends=True)
        assert known.progress.position == len(b"".join(lines[:8]))
        gate.open()
        await shipping


async def test_nothing_in_an_empty_file(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    totals = await Shipping(server.url).once(tmp_path / "a")
    assert str(totals).startswith("sent 0 lines: ")
    assert server.bodies == []


async def test_a_missing_file_is_known_before_anything_is_sent(server: Scripted, log: Path) -> None:
    with pytest.raises(FileRefused, match="No such file or directory"):
        await Shipping(server.url).once(log, log.with_name("missing"))
    assert server.bodies == []


async def test_a_file_that_goes_before_its_turn_is_told_of_when_the_others_are_acknowledged(
    server: Scripted, log: Path
) -> None:
    other = log.with_name("other.log")
    other.write_bytes(b"other\n")
    gate = Gate()
    server.script = [gate]
    big = log.with_name("big.log")
    big.write_bytes(b"x\n" * 30_000)
    shipping = Shipping(server.url)
    shipping.target = replace(shipping.target, batch_events=500)
    running = asyncio.create_task(shipping.once(big, other))
    await gate.reached.wait()
    other.unlink()
    gate.open()
    with pytest.raises(FileRefused, match=r"other\.log': No such file"):
        await running
    assert shipping.totals.stored == 30_000


async def test_lines_that_are_no_events_wait_in_bounded_numbers(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.ndjson"
    path.write_bytes(b"{}\n" + b"\n" * 100_000)
    gate = Gate()
    server.script = [gate]
    made = 0
    real = NdjsonFormat.event

    def counted(*arguments: object) -> object:
        nonlocal made
        made += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(NdjsonFormat, "event", counted)
    shipping = asyncio.create_task(Shipping(server.url, NdjsonFormat("logs")).once(path))
    await gate.reached.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert made < 1_000
    gate.open()
    assert (await shipping).lines == 100_001
