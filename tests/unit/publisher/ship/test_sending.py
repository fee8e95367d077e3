"""Records go out in batches; a checkpoint is behind what is acknowledged, and nothing is lost."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from support.load import until
from support.scripted import Gate, Scripted, answers, busy, takes
from unit.publisher.ship.shipping import PATIENT, Shipping, states_of

from publisher.batching import Limits
from publisher.ship.files.checkpoint import Checkpoint, CheckpointRefused
from publisher.ship.records.record import Line, Record
from publisher.ship.sending import Sender, ShipStopped
from publisher.ship.totals import Totals

pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio", "no_descriptor_is_left")

NDJSON = ("--format", "ndjson", "--id-field", "id")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def write(path: Path, *lines: bytes) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def size(path: Path) -> int:
    return path.stat().st_size


def remove(path: Path) -> None:
    path.unlink()


def texts(server: Scripted) -> list[str]:
    return [event_id for event_id in server.log if event_id.endswith("-text")]


class _Origin:
    """Where the records of a test come from."""

    name = "name"
    source = "source"
    path = Path("app.log")


def record(number: int, payload: bytes = b"{}") -> Record:
    line = Line(number, b"", b"\n", number.to_bytes(32, "big"), begins=True)
    return Record(number, line.chain, payload, None, None, None, None, (line,))


def sender_to(server: Scripted, limits: Limits) -> Sender:
    return Sender(
        server.url,
        "logs",
        limits=limits,
        policy=PATIENT,
        totals=Totals(),
        keep=None,
        dead_letters=None,
        tell=lambda _: None,
        on_bytes=lambda _: None,
        on_retry=lambda _: None,
    )


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (Limits(max_batch_events=3), [3, 3, 1]),
        (Limits(max_batch_bytes=1), [1] * 7),
        (Limits(max_batch_bytes=500), [3, 3, 1]),
        (Limits(), [7]),
    ],
)
async def test_batches_are_bounded_by_number_and_by_bytes(
    server: Scripted, limits: Limits, sizes: list[int]
) -> None:
    sender = sender_to(server, limits)
    running = asyncio.create_task(sender.run())
    await sender.send(_Origin(), [record(number) for number in range(7)])
    await sender.end()
    await running
    assert [len(batch) for batch in server.batches] == sizes
    bodies = [len(body) for body in server.bodies]
    assert limits.max_batch_bytes == 1 or max(bodies) <= limits.max_batch_bytes


async def test_a_large_record_goes_alone(server: Scripted) -> None:
    sender = sender_to(server, Limits(max_batch_bytes=1000))
    running = asyncio.create_task(sender.run())
    large = record(1, b'{"x":"%b"}' % (b"x" * 2000))
    await sender.send(_Origin(), [record(0), large, record(2)])
    await sender.end()
    await running
    assert [len(batch) for batch in server.batches] == [1, 1, 1]


async def test_a_flush_that_is_cancelled_while_it_waits_loses_nothing(server: Scripted) -> None:
    gate = Gate()
    server.script = [gate]
    sender = sender_to(server, Limits())
    running = asyncio.create_task(sender.run())
    for number in range(2):
        await sender.send(_Origin(), [record(number)])
        await sender.flush()
    await gate.reached.wait()
    await sender.send(_Origin(), [record(2)])
    flushing = asyncio.create_task(sender.flush())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not flushing.done()
    flushing.cancel()
    await asyncio.wait([flushing])
    await sender.send(_Origin(), [record(3)])
    gate.open()
    await sender.end()
    await running
    assert [event_id.split("-")[1] for event_id in server.log] == [f"{n:012d}" for n in range(4)]


async def test_what_is_refused_is_stored_as_text_under_an_id_of_its_own(
    server: Scripted, log: Path
) -> None:
    write(log, b'{"key": "a"}', b"no record")
    shipping = Shipping(server.url, *NDJSON)
    totals = await shipping.once(log)
    assert (totals.stored, totals.as_text, totals.rejected) == (2, 2, 0)
    assert len(texts(server)) == 2
    assert [sentence.partition(" is stored as text: ")[0] for sentence in shipping.told] == [
        f"'{log}' at byte 0",
        f"'{log}' at byte 13",
    ]
    # With mended options both are other events.
    mended = await Shipping(server.url, "--format", "ndjson", "--id-field", "key").once(log)
    assert (mended.stored, mended.duplicates) == (1, 1)
    assert list(server.log)[-1] == "a"
    plain = await Shipping(server.url).once(log)
    assert plain.stored == 2
    assert [event_id + "-text" for event_id in list(server.log)[-2:]] == texts(server)


async def test_what_is_rejected_is_sent_again_as_text(server: Scripted, log: Path) -> None:
    write(log, b'{"id": "1"}', b'{"id": "bad"}', b'{"id": "2"}', b'{"id": "bad again"}')
    shipping = Shipping(server.url, *NDJSON)
    totals = await shipping.once(log)
    assert (totals.stored, totals.as_text, totals.rejected, totals.lines) == (4, 2, 0, 4)
    assert list(server.log)[:2] == ["1", "2"]
    assert texts(server) == list(server.log)[2:]
    assert [len(batch) for batch in server.batches] == [4, 2]
    assert shipping.told == [
        f"'{log}' at byte {byte} is stored as text: it is bad" for byte in (12, 38)
    ]


async def test_what_is_rejected_as_text_too_is_told_and_counted(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b'{"id": "1"}', b'{"id": "bad"}', b'{"id": "2"}')

    async def rejects(server: Scripted, request: web.Request) -> web.StreamResponse:
        del server.bodies[-1]
        body = await request.read()
        return web.json_response(server.store(body.replace(b'"event_id":"', b'"event_id":"bad')))

    server.script = [takes, rejects]
    shipping = Shipping(server.url, *NDJSON)
    totals = await shipping.once_with(state, log)
    assert (totals.stored, totals.as_text, totals.rejected) == (2, 0, 1)
    assert shipping.told == [f"'{log}' at byte 12 was not stored: it is bad"]
    (known,) = states_of(state, server.url, *NDJSON)
    assert (known.place.position, known.refused) == (size(log), 1)


async def test_a_checkpoint_stops_before_what_was_rejected_when_it_cannot_be_sent_as_text(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b'{"id": "1"}', b'{"id": "2"}', b'{"id": "bad"}', b'{"id": "3"}')
    server.script = [takes, takes, answers(404, {"detail": "nothing here"})]
    shipping = Shipping(server.url, *NDJSON, batch_events=2)
    with pytest.raises(ShipStopped, match="from byte 24 on was not sent: the answer is 404"):
        await shipping.once_with(state, log)
    assert (shipping.totals.stored, shipping.totals.rejected) == (2, 0)
    totals = await Shipping(server.url, *NDJSON).once_with(state, log)
    assert totals.as_text == 1
    assert len(texts(server)) == 1


async def test_a_checkpoint_stops_before_what_was_rejected_beside_a_failure(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b'{"id": "bad"}', b'{"id": "2"}', b'{"id": "3"}', b'{"id": "4"}')
    # The request is sent in halves, of which the second one fails.
    server.script = [answers(413, {"detail": "too large"}), takes, answers(404, {"detail": "no"})]
    shipping = Shipping(server.url, *NDJSON)
    with pytest.raises(ShipStopped, match="from byte 0 on was not sent: the answer is 404"):
        await shipping.once_with(state, log)
    assert shipping.totals.rejected == 0
    (known,) = states_of(state, server.url, *NDJSON)
    assert (known.place.position, known.refused) == (0, 0)
    totals = await Shipping(server.url, *NDJSON).once_with(state, log)
    assert (totals.stored, totals.duplicates, totals.as_text) == (3, 1, 1)


async def test_what_was_acknowledged_before_a_failure_is_kept(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, *(b"%d" % number for number in range(8)))
    server.script = [takes, takes, answers(400, {"detail": "no more"})]
    shipping = Shipping(server.url, batch_events=2)
    with pytest.raises(ShipStopped, match=r"app\.log' from byte 8 on was not sent: .* no more"):
        await shipping.once_with(state, log)
    assert shipping.totals.stored == 4
    assert len(server.bodies) == 3
    totals = await Shipping(server.url).once_with(state, log)
    assert (totals.stored, totals.duplicates) == (4, 4)


async def test_a_place_in_a_batch_of_two_files_is_kept_for_each_when_it_is_acknowledged(
    server: Scripted, tmp_path: Path, state: Path
) -> None:
    one, two = tmp_path / "1.log", tmp_path / "2.log"
    write(one, b"a", b"b", b"c")
    write(two, b"d", b"e", b"f")
    server.script = [takes, busy("100000")]
    with pytest.raises(ShipStopped, match=r"2\.log' from byte 2 on"):
        await Shipping(server.url, batch_events=4).once_with(state, one, two)
    first, second = states_of(state, server.url)
    assert (first.path, first.place.position) == (str(one), 6)
    # Its lines were read at once, so there is no place between them.
    assert (second.path, second.place.position) == (str(two), 0)
    totals = await Shipping(server.url).once_with(state, one, two)
    assert (totals.stored, totals.duplicates) == (2, 1)


async def test_the_checkpoint_waits_for_the_answer(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, *(b"%0100d" % number for number in range(3000)))
    gate = Gate()
    # A place is known every 128 KiB.
    server.script = [takes, takes, takes, gate]
    shipping = Shipping(server.url, batch_events=500)
    with shipping.checkpoint(state) as checkpoint:
        running = asyncio.create_task(shipping.once(log, checkpoint=checkpoint))
        await gate.reached.wait()
        # It is kept while the next request is under way.
        await until(lambda: checkpoint.contents()[0].place.position > 0)
        (known,) = checkpoint.contents()
        gate.open()
        await running
        assert known.place.position <= 101 * 1500
        (known,) = checkpoint.contents()
    assert known.place.position == size(log)


async def test_a_content_is_written_down_before_its_first_line_is_sent(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b"# heading", b"one")
    gate = Gate()
    server.script = [gate]
    shipping = Shipping(server.url)
    with shipping.checkpoint(state) as checkpoint:
        running = asyncio.create_task(shipping.once(log, checkpoint=checkpoint))
        await gate.reached.wait()
        (known,) = checkpoint.contents()
        assert known.place.position == 0
        assert server.batches[0][0].startswith(f"{known.name}-000000000000-")
        # Killed here: its lines are stored, and nobody is told.
        server.store(server.bodies[0])
        running.cancel()
        await asyncio.wait([running])
    gate.open()
    # The next content begins alike, and is another one all the same.
    remove(log)
    write(log, b"# heading", b"two")
    totals = await Shipping(server.url).once_with(state, log)
    assert (totals.stored, totals.duplicates) == (2, 0)
    assert len(server.log) == 4


async def test_a_checkpoint_that_cannot_be_written_ends_it(
    server: Scripted, log: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, b"one")

    def full(*_: object) -> None:
        raise CheckpointRefused("the disk is full")

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.raises(CheckpointRefused, match="the disk is full"):
        await Shipping(server.url).once_with(state, log)
    # Not even the first line went out: its content could not be written down.
    assert server.bodies == []


async def test_what_is_sent_waits_for_room(server: Scripted, log: Path) -> None:
    write(log, *(b"%d" % number for number in range(100)))
    gate = Gate()
    server.script = [gate]
    running = asyncio.create_task(Shipping(server.url, batch_events=1).once(log))
    await gate.reached.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not running.done()
    gate.open()
    await until(running.done)
    assert (await running).stored == 100
    assert [batch[0].split("-")[1] for batch in server.batches[:3]] == [
        f"{position:012d}" for position in (0, 2, 4)
    ]
