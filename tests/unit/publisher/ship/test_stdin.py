"""Any descriptor is read as its bytes come, to its end."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from publisher.ship.stdin import chunks


async def all_of(file: int) -> bytes:
    return b"".join([chunk async for chunk in chunks(file)])


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "app.log").write_bytes(content)
    file = os.open(tmp_path / "app.log", os.O_RDONLY)
    try:
        assert await all_of(file) == content
    finally:
        os.close(file)


@pytest.mark.parametrize("blocking", [True, False])
async def test_what_a_slow_pipe_has_is_given_at_once(blocking: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, blocking)
    try:
        arriving = chunks(reading)
        first = asyncio.ensure_future(anext(arriving))
        for part in (b"one\n", b"tw", b"o\n"):
            os.write(writing, part)
            assert await first == part
            first = asyncio.ensure_future(anext(arriving))
        os.close(writing)
        with pytest.raises(StopAsyncIteration):
            await first
    finally:
        os.close(reading)


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            await all_of(file)
    finally:
        os.close(file)


def test_whoever_stops_listening_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    reading, writing = os.pipe()

    async def first_chunk() -> bytes:
        return await anext(chunks(reading))

    os.write(writing, b"x" * 1000)
    before = set(threading.enumerate())
    assert asyncio.run(first_chunk()) == b"x" * 1000
    # It waits for more, finds the loop gone when that comes, and ends.
    os.write(writing, b"more")
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
    os.close(writing)
    os.close(reading)
    assert failures == []
