"""Following ends when it is told to or refused, and nothing is lost by it."""

import asyncio
import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

import pytest
from support.load import until
from support.scripted import Gate, Scripted, serving
from unit.publisher.ship.shipping import Shipping

from publisher.retry import RetryPolicy
from publisher.ship import run_sending as module
from publisher.ship.files.readable_file import FileRefused, ReadableFile, open_file
from publisher.ship.sending import ShipStopped

ROOT = Path(__file__).parents[4]
FOR_EVER = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=float("inf"))
LIMIT_S = 30.0


pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def write(log: Path, content: bytes) -> None:
    log.write_bytes(content)


def remove(log: Path) -> None:
    log.unlink()


async def until_logged(server: Scripted, lines: int) -> None:
    await until(lambda: len(server.log) >= lines)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Follower:
    """Follows logs, and goes on from its checkpoint when it is started again."""

    def __init__(self, url: str, *logs: Path) -> None:
        self.logs = logs
        self.shipping = Shipping(url, policy=FOR_EVER, batch_events=500)
        self.totals = self.shipping.totals
        self.told = self.shipping.told
        self.stop = self.shipping.stop

    async def run(self) -> None:
        await self.shipping.follow(self.logs[0].with_name("state"), *self.logs)

    async def until_stored(self, lines: int) -> None:
        await until(lambda: self.totals.events >= lines)


async def test_lines_are_sent_as_they_come_until_it_is_stopped(server: Scripted, log: Path) -> None:
    follower = Follower(server.url, log)
    following = asyncio.create_task(follower.run())
    for number in range(1, 4):
        with log.open("ab") as file:
            file.write(b"%d\n" % number)
        await follower.until_stored(number)
    follower.stop.set()
    await following
    assert len(server.log) == 3
    assert follower.told in ([], [f"'{log}' is not there"])
    await_again = Follower(server.url, log)
    following = asyncio.create_task(await_again.run())
    with log.open("ab") as file:
        file.write(b"4\n")
    await await_again.until_stored(1)
    await_again.stop.set()
    await following
    assert len(server.log) == 4
    assert await_again.totals.duplicates == 0


@pytest.mark.parametrize("lines", [100, 30_000])
async def test_it_ends_while_the_aggregator_is_away_and_loses_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(module, "_STOP_S", 0.01)
    write(log, b"".join(b"%d\n" % number for number in range(lines)))
    gate = Gate()
    async with serving(gate) as server:
        follower = Follower(server.url, log)
        following = asyncio.create_task(follower.run())
        await gate.reached.wait()
        # It waits for room that there is not, if there are many lines.
        for _ in range(1000):
            await asyncio.sleep(0)
        follower.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await following
        assert follower.totals.events == 0
        gate.open()
    async with serving() as server:
        follower = Follower(server.url, log)
        following = asyncio.create_task(follower.run())
        await follower.until_stored(lines)
        follower.stop.set()
        await following
        assert len(server.log) == lines


async def test_what_is_on_its_way_when_it_is_stopped_is_waited_for(
    server: Scripted, log: Path
) -> None:
    gate = Gate()
    server.script = [gate]
    write(log, b"one\ntwo\n")
    follower = Follower(server.url, log)
    following = asyncio.create_task(follower.run())
    await gate.reached.wait()
    follower.stop.set()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not following.done()
    gate.open()
    await following
    assert follower.totals.stored == 2


async def test_a_refusal_ends_it_with_a_sentence(server: Scripted, log: Path) -> None:
    write(log, b"one\n" * 20_000)
    follower = Follower(server.url + "/nowhere", log)
    with pytest.raises(ShipStopped) as stopped:
        await follower.run()
    assert str(stopped.value).startswith(
        f"'{log}' from byte 0 on was not sent: the answer is 404: "
    )
    assert "\n" not in str(stopped.value)


async def test_a_log_that_cannot_be_read_is_told_of_and_the_others_go_on(
    server: Scripted, log: Path
) -> None:
    directory = log.with_name("directory")
    directory.mkdir()
    write(log, b"one\n")
    follower = Follower(server.url, directory, log)
    following = asyncio.create_task(follower.run())
    await follower.until_stored(1)
    (told,) = follower.told
    assert told.startswith(f"cannot read '{directory}': it is a directory; ")
    # It is tried again.
    directory.rmdir()
    write(directory, b"two\n")
    await follower.until_stored(2)
    follower.stop.set()
    await following
    assert len(follower.told) <= 2


async def test_files_for_which_there_is_no_descriptor_are_told_of_and_tried_again(
    server: Scripted, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, b"one\n")
    other = log.with_name("other.log")
    write(other, b"two\n")
    has_room = False

    def limited(path: Path) -> ReadableFile:
        if path == other and not has_room:
            raise FileRefused.of(path, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        return open_file(path)

    monkeypatch.setattr("publisher.ship.files.catalog.open_file", limited)
    follower = Follower(server.url, log, other)
    following = asyncio.create_task(follower.run())
    await follower.until_stored(1)
    assert follower.told == [f"cannot read '{other}': Too many open files"]
    with log.open("ab") as file:
        file.write(b"more\n")
    await follower.until_stored(2)
    has_room = True
    # Something moves, so that everything is looked at.
    write(log.with_name("third"), b"")
    await follower.until_stored(3)
    follower.stop.set()
    await following
    assert len(follower.told) == 1


async def test_a_stream_is_followed_until_it_is_stopped_and_sent_as_it_comes(
    server: Scripted,
) -> None:
    reading, writing = os.pipe()
    shipping = Shipping(server.url, policy=FOR_EVER)
    streaming = asyncio.create_task(shipping.stream(reading))
    os.write(writing, b"one\ntw")
    await until_logged(server, 1)
    shipping.stop.set()
    async with asyncio.timeout(LIMIT_S):
        await streaming
    assert shipping.totals.stored == 1
    os.close(writing)
    os.close(reading)


async def test_being_cancelled_ends_it_and_closes_all(server: Scripted, log: Path) -> None:
    before = descriptors()
    gate = Gate()
    server.script = [gate]
    write(log, b"one\n")
    following = asyncio.create_task(Follower(server.url, log).run())
    await gate.reached.wait()
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    gate.open()
    assert following.cancelled()
    assert {task for task in asyncio.all_tasks() if "ship" in repr(task.get_coro())} == set()
    # What the server's end of the connection has is not counted.
    assert descriptors() <= before + 1


async def command(*arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "ship", "--topic", "logs", *arguments),
        cwd=ROOT,
        # Its log lines about slow callbacks are not the publisher's.
        env={**os.environ, "PYTHONDEVMODE": "", "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_command_that_follows_with_status_0(
    server: Scripted, log: Path, number: signal.Signals
) -> None:
    write(log, b"one\n")
    state = log.with_name("state")
    process = await command(log, "--follow", "--checkpoint", state, "--url", server.url)
    await until(lambda: bool(server.log))
    process.send_signal(number)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out == b"sent 1 line: stored 1, duplicates 0, conflicts 0, retries 0\n"


@pytest.mark.usefixtures("processes")
async def test_however_many_lines_are_wrong_a_file_that_goes_is_told_of_and_no_password_is_kept(
    server: Scripted, log: Path
) -> None:
    write(log, b"wrong\n" * 50 + b"{}\n")
    state = log.with_name("state")
    url = server.url.replace("http://", "http://somebody:hush@")
    process = await command(
        *(log, "--follow", "--checkpoint", state, "--url", url, "--format", "ndjson")
    )
    assert process.stderr is not None
    await until(lambda: len(server.log) == 51)
    remove(log)
    async with asyncio.timeout(LIMIT_S):
        told = [await process.stderr.readline() for _ in range(12)]
    assert sum(b" is stored as text: it is not JSON" in sentence for sentence in told) == 10
    assert told[10].endswith(b": more of that kind are counted, and told once a minute\n")
    assert told[-1].endswith(f"'{log}' is not there\n".encode())
    kept = b"".join(path.read_bytes() for path in state.parent.glob("state*"))
    assert server.url.encode() in kept
    assert b"hush" not in kept
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"sent 51 lines: stored 51, ")
    assert err.endswith(b": of the records so far 50 were stored as text\n")


@pytest.mark.usefixtures("processes")
async def test_a_signal_ends_the_command_that_follows_standard_input(server: Scripted) -> None:
    process = await command("-", "--follow", "--url", server.url)
    assert process.stdin is not None
    process.stdin.write(b"one\n")
    await until_logged(server, 1)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LIMIT_S):
        code = await process.wait()
    process.stdin.close()
    assert process.stdout is not None
    assert process.stderr is not None
    assert (code, await process.stderr.read()) == (0, b"")
    assert (await process.stdout.read()).startswith(b"sent 1 line: stored 1, ")


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_not_acknowledged_in_time_is_told_of(
    server: Scripted, log: Path, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    monkeypatch.setattr("publisher.ship.run_sending._STOP_S", 0.01)
    gate = Gate()
    server.script = [gate]
    reading, writing = os.pipe()
    write(log, b"one\n")
    os.write(writing, b"one\n")
    shipping = Shipping(server.url, policy=FOR_EVER)
    if is_stream:
        running = asyncio.create_task(shipping.stream(reading))
    else:
        running = asyncio.create_task(shipping.follow(log.with_name("state"), log))
    await gate.reached.wait()
    shipping.stop.set()
    async with asyncio.timeout(LIMIT_S):
        await running
    gate.open()
    os.close(writing)
    os.close(reading)
    again = "standard input has it no more" if is_stream else "the next run sends it"
    assert shipping.told == [f"what was read last was not acknowledged within 0.01 s; {again}"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"terminated")],
)
async def test_a_signal_to_what_waits_for_standard_input_ends_it_at_once(
    server: Scripted, number: signal.Signals, status: int, word: bytes
) -> None:
    process = await command("-", "--url", server.url)
    assert process.stdin is not None
    for count in (1, 2):
        # Requests go one after another: when the second arrives the first is acknowledged.
        process.stdin.write(b"line\n")
        await until_logged(server, count)
    process.send_signal(number)
    async with asyncio.timeout(LIMIT_S):
        code = await process.wait()
    assert code == status
    assert process.stdout is not None
    assert process.stderr is not None
    assert (await process.stdout.read()).startswith((b"sent 1 line: ", b"sent 2 lines: "))
    err = await process.stderr.read()
    assert err.startswith(
        b"python -m publisher ship: " + word + b"; what was stored stays, and would"
    )
    assert err.count(b"\n") == 1
    process.stdin.close()


@pytest.mark.usefixtures("processes")
async def test_a_refusal_while_standard_input_goes_on_is_one_sentence(server: Scripted) -> None:
    process = await command("-", "--url", server.url + "/nowhere")
    assert process.stdin is not None
    assert process.stderr is not None
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            process.stdin.write(b"x" * 100_000 + b"\n")
            await process.stdin.drain()
    with contextlib.suppress(ConnectionError):
        # Asked, or Python 3.11.2 complains of a pipe that broke and nobody asked.
        await process.stdin.wait_closed()
    async with asyncio.timeout(LIMIT_S):
        code = await process.wait()
    err = await process.stderr.read()
    assert code == 1
    assert err.startswith(b"python -m publisher ship: '-' from byte 0 on was not sent: the answer")
    assert err.count(b"\n") == 1
