"""Files arrive whole, in order and once in the real application, whatever happens on the way."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.http import Client, MakeClient
from support.scripted import Gate, Scripted, busy, stores_and_cuts, takes
from support.talking import read_all
from unit.publisher.ship.files.compressing import COMPRESS
from unit.publisher.ship.shipping import Shipping, states_of

from publisher.ship.log_events import line_bytes
from publisher.ship.sending import ShipStopped

CONTENT = b"".join(b"%d caf\xc3\xa9\r\n\xff\n" % number for number in range(50)) + b"end"
NDJSON = ("--format", "ndjson", "--id-field", "id")


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


def remove(path: Path) -> None:
    path.unlink()


def rotate(log: Path, content: bytes) -> None:
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(content)


def base(client: Client) -> str:
    return str(client.make_url("/"))


async def events_of(client: Client) -> list[dict[str, Any]]:
    return await read_all(client, topic="logs", after=0)


async def content_of(client: Client) -> bytes:
    return b"".join(line_bytes(event["payload"]) for event in await events_of(client))


@sqlite
async def test_a_file_arrives_whole_and_in_order_and_again_adds_nothing(
    client: Client, log: Path
) -> None:
    first = Shipping(base(client))
    expected = "sent 101 lines: stored 101, duplicates 0, conflicts 0, retries 0"
    assert str(await first.once(log)) == expected
    assert first.read_all
    assert first.bytes == first.expected_bytes == len(CONTENT)
    assert await content_of(client) == CONTENT
    # By two names it is one file.
    link = log.with_name("link")
    link.symlink_to(log)
    totals = await Shipping(base(client)).once(link, log)
    assert (totals.stored, totals.duplicates, totals.conflicts) == (0, 101, 0)
    assert await content_of(client) == CONTENT


@sqlite
async def test_a_checkpoint_leaves_out_what_was_sent_but_for_a_line_under_way(
    client: Client, log: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    await Shipping(base(client)).once_with(state, log)
    (known,) = states_of(state, base(client))
    assert known.place.position == len(CONTENT) - len(b"end")
    again = await Shipping(base(client)).once_with(state, log)
    assert (again.stored, again.duplicates, again.lines) == (0, 1, 1)
    with log.open("ab") as file:
        file.write(b" of it\nand more\n")
    more = await Shipping(base(client)).once_with(state, log)
    assert (more.stored, more.duplicates) == (2, 0)
    # The content that follows begins alike and is another one.
    rotate(log, CONTENT[:20])
    last = await Shipping(base(client)).once_with(state, log)
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
async def test_records_keep_their_ids_and_what_breaks_a_rule_is_stored_as_text(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "app.ndjson"
    long = b'{"id": "long", "x": "' + b"x" * 3_000_000 + b'"}\n'
    path.write_bytes(
        b'{"id": "1", "x": 1.10}\n\nno record\n' + long + b'{"id": "\\u0000"}\n'
        b'{"id": 2}\n{"id": "1", "x": 2}\n'
    )
    shipping = Shipping(base(client), *NDJSON)
    totals = await shipping.once(path)
    assert (totals.lines, totals.conflicts, totals.rejected) == (6, 1, 0)
    events = await events_of(client)
    texts = [event for event in events if event["event_id"].endswith("-text")]
    ids = [event["event_id"] for event in events if event not in texts]
    assert ids[::2] == ["1", "2"]
    assert ids[1].startswith("sha256:")
    assert len(ids) == 3
    assert b"".join(line_bytes(event["payload"]) for event in texts) == b"no record\n" + long
    # The long line is one of them, in many parts.
    assert (totals.as_text, len(texts)) == (2, 1 + len(long) // 131_072 + 1)
    assert len(shipping.told) == 3
    told = [sentence.removeprefix(f"'{path}' at byte ") for sentence in shipping.told]
    assert told[0] == "24 is stored as text: it is not JSON (Expecting value, character 0)"
    assert told[1] == "34 is stored as text: it is longer than 1,048,576 bytes"
    assert told[-1].endswith(
        "topic 'logs' has another event with the id '1' at offset 1, which is kept"
    )


@sqlite
async def test_what_the_aggregator_rejects_is_stored_as_text(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "app.ndjson"
    deep = b'{"id": "deep", "x": ' + b"[" * 200 + b"]" * 200 + b"}\n"
    path.write_bytes(b'{"id": "1"}\n' + deep + b'{"id": "2"}\n')
    shipping = Shipping(base(client), *NDJSON)
    totals = await shipping.once(path)
    assert (totals.stored, totals.as_text, totals.rejected, totals.lines) == (3, 1, 0, 3)
    # What was rejected comes behind those that share its request.
    first, second, text = await events_of(client)
    assert [first["event_id"], second["event_id"]] == ["1", "2"]
    assert text["event_id"].endswith("-text")
    assert line_bytes(text["payload"]) == deep
    assert text["payload"]["position"] == len(b'{"id": "1"}\n')
    (told,) = shipping.told
    assert told.startswith(f"'{path}' at byte 12 is stored as text: ")
    again = await Shipping(base(client), *NDJSON).once(path)
    assert (again.stored, again.duplicates, again.conflicts) == (0, 3, 0)


@sqlite
async def test_a_record_under_way_is_resumed_in_its_middle(client: Client, tmp_path: Path) -> None:
    path, state = tmp_path / "app.ndjson", tmp_path / "state"
    record = b'{"id": "long", "x": "' + b"x" * 3_000_000
    path.write_bytes(b'{"id": "1"}\n' + record)
    first = await Shipping(base(client), *NDJSON).once_with(state, path)
    (known,) = states_of(state, base(client), *NDJSON)
    assert first.as_text
    assert len(b'{"id": "1"}\n') < known.place.position < path.stat().st_size
    with path.open("ab") as file:
        file.write(b'"}\n{"id": "2"}\n')
    second = await Shipping(base(client), *NDJSON).once_with(state, path)
    assert second.conflicts == 0
    events = await events_of(client)
    texts = [event for event in events if event["event_id"].endswith("-text")]
    assert [event["event_id"] for event in events if event not in texts] == ["1", "2"]
    # Its last part was sent twice, for it was under way.
    parts = {event["payload"]["position"]: line_bytes(event["payload"]) for event in texts}
    assert b"".join(parts[position] for position in sorted(parts)) == record + b'"}\n'


@sqlite
async def test_each_stream_is_one_of_its_own(client: Client) -> None:
    for _ in range(2):
        reading, writing = os.pipe()
        shipping = Shipping(base(client))
        streaming = asyncio.create_task(shipping.stream(reading))
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
    events = await events_of(client)
    assert [line_bytes(event["payload"]) for event in events] == [b"done\n", b"half"] * 2
    assert {event["source"] for event in events} == {"web1:stdin"}


@sqlite
@pytest.mark.parametrize("suffix", COMPRESS)
async def test_a_compressed_file_has_the_ids_of_the_plain_one(
    client: Client, log: Path, suffix: str
) -> None:
    await Shipping(base(client)).once(log)
    archive = log.with_name(f"app.log{suffix}")
    archive.write_bytes(COMPRESS[suffix](CONTENT + b" of it\n"))
    remove(log)
    totals = await Shipping(base(client)).once(archive)
    assert (totals.stored, totals.duplicates) == (1, 100)
    assert {event["source"] for event in await events_of(client)} == {f"web1:{log}"}


@sqlite
async def test_a_mark_and_a_hole_at_the_start_are_skipped(client: Client, tmp_path: Path) -> None:
    marked, holed, short = (tmp_path / name for name in ("marked", "holed", "short"))
    marked.write_bytes(b'\xef\xbb\xbf{"id": "1"}\n{"id": "2"}\n')
    holed.write_bytes(bytes(5000) + b'{"id": "3"}\n')
    shipping = Shipping(base(client), *NDJSON)
    await shipping.once_with(tmp_path / "state", marked, holed)
    # Between files there is no order.
    assert sorted(event["event_id"] for event in await events_of(client)) == ["1", "2", "3"]
    assert shipping.told == []
    again = await Shipping(base(client), *NDJSON).once_with(tmp_path / "state", marked, holed)
    assert again.events == 0
    # Fewer are data.
    short.write_bytes(bytes(511) + b"data\n")
    await Shipping(base(client)).once(short)
    assert line_bytes((await events_of(client))[-1]["payload"]) == bytes(511) + b"data\n"


@sqlite
@pytest.mark.parametrize(
    ("template", "sources"),
    [
        ("app", ["app", "app"]),
        ("{host}/{name}", ["web1/app.ndjson", "web1/app.ndjson"]),
        ("{{{field:svc.name}}}", ["{shop}", "{-}"]),
    ],
)
async def test_sources_are_made_by_their_template(
    client: Client, tmp_path: Path, template: str, sources: list[str]
) -> None:
    path = tmp_path / "app.ndjson"
    path.write_bytes(b'{"id": "1", "svc": {"name": "shop"}}\n{"id": "2"}\n')
    await Shipping(base(client), *NDJSON, "--source", template).once(path)
    assert [event["source"] for event in await events_of(client)] == sources


async def test_lost_answers_cost_nothing(server: Scripted, log: Path) -> None:
    server.script = [stores_and_cuts, takes] * 13
    totals = await Shipping(server.url).once(log)
    assert (totals.retries, totals.stored, totals.duplicates) == (13, 0, 101)
    assert len(server.log) == 101


async def test_what_was_given_up_is_told_and_goes_on_another_time(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    # A wait past every deadline: it is given up without waiting.
    server.script = [takes] * 5 + [stores_and_cuts, busy("100000")]
    shipping = Shipping(server.url)
    with pytest.raises(ShipStopped, match=r"app\.log' from byte 230 on .* gave up after 2 tri"):
        await shipping.once_with(state, log)
    assert shipping.totals.stored == 40
    assert shipping.bytes == 230
    totals = await Shipping(server.url).once_with(state, log)
    # The request under way was stored although nobody was told.
    assert (totals.stored, totals.duplicates) == (53, 48)
    assert len(server.log) == 101


async def test_nothing_in_an_empty_file(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    shipping = Shipping(server.url)
    assert str(await shipping.once(tmp_path / "a")).startswith("sent 0 lines: ")
    assert shipping.read_all
    assert server.bodies == []


async def test_files_that_cannot_be_read_are_told_of_and_the_others_are_sent(
    server: Scripted, log: Path
) -> None:
    missing, broken = log.with_name("missing"), log.with_name("broken.gz")
    broken.write_bytes(gzip.compress(b"one\n" * 1000)[:-20] + b"no archive" * 20)
    directory = log.with_name("directory")
    directory.mkdir()
    shipping = Shipping(server.url)
    await shipping.once(missing, broken, directory, log.with_name("*.none"), log)
    assert not shipping.read_all
    assert len(shipping.told) == 4
    told = "\n".join(shipping.told)
    assert f"'{missing}' is not there" in told
    assert f"no file matches '{log.parent}/*.none'" in told
    assert f"cannot read '{directory}': it is a directory" in told
    assert f"'{broken}' is broken behind byte " in told
    assert any(each.endswith("; it is not sent") for each in shipping.told)
    assert shipping.totals.stored >= 101


async def test_a_file_that_goes_before_its_turn_is_read_to_its_end(
    server: Scripted, log: Path
) -> None:
    other = log.with_name("other.log")
    other.write_bytes(b"other\n")
    gate = Gate()
    server.script = [gate]
    big = log.with_name("big.log")
    big.write_bytes(b"x\n" * 30_000)
    os.utime(big, ns=(0, 0))
    shipping = Shipping(server.url, batch_events=500)
    running = asyncio.create_task(shipping.once(big, other))
    await gate.reached.wait()
    other.unlink()
    gate.open()
    await running
    assert shipping.totals.stored == 30_001


async def test_what_is_read_ahead_of_the_aggregator_is_bounded(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"0123456789\n" * 200_000)
    gate = Gate()
    server.script = [gate]
    shipping = Shipping(server.url, batch_events=500)
    read = 0
    real = os.pread

    def counted(file: int, size: int, position: int) -> bytes:
        nonlocal read
        found = real(file, size, position)
        read = max(read, position + len(found))
        return found

    monkeypatch.setattr(os, "pread", counted)
    running = asyncio.create_task(shipping.once(path))
    await gate.reached.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert read < 1_000_000
    gate.open()
    assert (await running).lines == 200_000


async def test_a_file_is_decompressed_if_its_name_and_its_first_bytes_say_so(
    server: Scripted, tmp_path: Path
) -> None:
    contents = {
        "plain.gz": b"plain\n",
        "gzip.log": gzip.compress(b"packed\n"),
        "nuls.log": bytes(512),
        "mark.log": b"\xef\xbb\xbf",
    }
    lines: dict[str, bytes] = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        await Shipping(server.url).once(tmp_path / name)
        events = [json.loads(line) for body in server.bodies for line in body.splitlines()]
        lines[name] = b"".join(line_bytes(event["payload"]) for event in events)
        assert len(events) == {"nuls.log": 0, "mark.log": 1}.get(name, len(events))
        server.bodies.clear()
    assert lines == contents | {"nuls.log": b"", "mark.log": b""}
