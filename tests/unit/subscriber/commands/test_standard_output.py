"""Standard output as a queue: what is written, when there is room, and who has gone."""

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from publisher.output import CannotPrint
from subscriber.commands.standard_output import ReaderGone, StandardOutput

LINE = b"x" * 999 + b"\n"
LIMIT_S = 10.0


@asynccontextmanager
async def writing(file: int) -> AsyncIterator[tuple[StandardOutput, "asyncio.Task[None]"]]:
    """An output whose writer is under way."""
    output = StandardOutput(file)
    task: asyncio.Task[None] = asyncio.create_task(output.write())
    try:
        yield output, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ReaderGone, CannotPrint):
            await task


async def test_position_is_written_when_its_line_is(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as file:
        async with writing(file.fileno()) as (output, _):
            assert output.is_written
            output.put(b"a\n", "1")
            output.put(b"b\n", "2")
            assert (output.is_written, output.written, path.read_bytes()) == (False, None, b"")
            await output.drain()
            assert (output.is_written, output.written) == (True, "2")
    assert path.read_bytes() == b"a\nb\n"


async def test_full_pipe_makes_wait_who_puts_and_holds_up_nobody_else() -> None:
    reading, file = os.pipe()
    async with writing(file) as (output, task):
        # The pipe takes 64 KiB, 1 MiB is being written, and as much waits.
        for waiting in range(4000):
            output.put(LINE, str(waiting))
            room = asyncio.ensure_future(output.room())
            done, _ = await asyncio.wait({room}, timeout=0.05)
            if not done:
                break
        assert 1000 < waiting < 3000
        assert not task.done()
        # No more than the pipe holds is taken for written.
        assert int(output.written or 0) < 66
        got = 0
        while got < (waiting + 1) * len(LINE):
            got += len(await asyncio.to_thread(os.read, reading, 2**20))
        await asyncio.wait_for(output.drain(), LIMIT_S)
        assert room.done()
        assert output.written == str(waiting)
        os.close(reading)
    os.close(file)


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


@pytest.mark.parametrize("make", [pipe, sockets])
async def test_reader_that_goes_away_is_noticed_while_nothing_is_put(
    make: Callable[[], tuple[int, int]],
) -> None:
    reading, file = make()
    async with writing(file) as (output, task):
        output.put(LINE, "1")
        await output.drain()
        os.close(reading)
        with pytest.raises(ReaderGone):
            await asyncio.wait_for(task, LIMIT_S)
    os.close(file)


async def test_reader_that_goes_away_is_noticed_while_the_pipe_is_full() -> None:
    reading, file = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    async with writing(file) as (output, task):
        for _ in range(20):
            output.put(LINE, "1")
        # It is full once something of it can be read: all of it was put before.
        await asyncio.to_thread(os.read, reading, 1)
        os.close(reading)
        with pytest.raises(ReaderGone):
            await asyncio.wait_for(task, LIMIT_S)
        assert output.written is None
    os.close(file)


async def test_what_a_socket_sends_is_not_taken_for_its_end() -> None:
    reading, file = sockets()
    async with writing(file) as (output, task):
        os.write(reading, b"hello")
        for _ in range(5):  # turns of the event loop, which looks at the socket in each
            await asyncio.sleep(0)
        output.put(LINE, "1")
        await asyncio.wait_for(output.drain(), LIMIT_S)
        assert not task.done()
        os.close(reading)
        output.put(LINE, "2")
        with pytest.raises(ReaderGone):
            await asyncio.wait_for(task, LIMIT_S)
    os.close(file)


async def test_full_disk_is_one_sentence() -> None:
    file = os.open("/dev/full", os.O_WRONLY)
    async with writing(file) as (output, task):
        output.put(LINE, "1")
        sentence = "^cannot write to standard output: No space left on device$"
        with pytest.raises(CannotPrint, match=sentence):
            await asyncio.wait_for(task, LIMIT_S)
        assert output.written is None
    os.close(file)
