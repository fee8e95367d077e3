"""Journals of systemd, made of given entries by systemd-journal-remote, and read by journalctl."""

import asyncio
import json
import struct
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from publisher.ship.journal.reader import JournalLine, JournalReader
from support.programs import installed

FIRST_BOOT = "a" * 32
SECOND_BOOT = "b" * 32
LIMIT_S = 60.0
_REMOTE = (
    Path("/usr/lib/systemd/systemd-journal-remote"),
    Path("/lib/systemd/systemd-journal-remote"),
)
_START_US = 1_700_000_000_000_000
_UPTIME_US = 1_000_000

Value = str | bytes | Sequence[str | bytes]


class Entry(NamedTuple):
    """An entry of a journal.

    Args:
        number: milliseconds since the first one; the message is `m` and this number.
        boot: the id of its boot.
        fields: its other fields, some more than once.
        start_us: microseconds from 1970 to the number 0.
    """

    number: int
    boot: str = FIRST_BOOT
    fields: dict[str, Value] = {}  # noqa: RUF012 - nobody changes it
    start_us: int = _START_US

    def exported(self) -> bytes:
        """The entry in the journal's export format."""
        since_us = self.number * 1000
        head = (
            f"__REALTIME_TIMESTAMP={self.start_us + since_us}\n"
            f"__MONOTONIC_TIMESTAMP={_UPTIME_US + since_us}\n_BOOT_ID={self.boot}\n"
        )
        parts = [head.encode()]
        fields = {"MESSAGE": f"m{self.number}", "_SYSTEMD_UNIT": "a.service", **self.fields}
        for name, values in fields.items():
            for value in [values] if isinstance(values, str | bytes) else values:
                data = value if isinstance(value, bytes) else value.encode()
                parts += [name.encode(), b"\n", struct.pack("<Q", len(data)), data, b"\n"]
        return b"".join([*parts, b"\n"])


def entries(numbers: Iterable[int], boot: str = FIRST_BOOT, /, **fields: Value) -> list[Entry]:
    """Entries of these numbers, with the same other fields."""
    return [Entry(number, boot, fields) for number in numbers]


def write(path: Path, written: Iterable[Entry]) -> None:
    """Write entries to a journal file, behind those that it has."""
    program = next((remote for remote in _REMOTE if remote.exists()), None)
    if program is None:
        pytest.fail(
            "there is no systemd-journal-remote: apt-get install systemd-journal-remote "
            "(see CONTRIBUTING.md)",
            pytrace=False,
        )
    done = subprocess.run(
        [program, f"--output={path}", "-"],
        input=b"".join(entry.exported() for entry in written),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def journalctl() -> Path:
    """The path of journalctl; without it the test fails, naming what to install."""
    found = installed("journalctl")
    if found is None:
        pytest.fail("there is no journalctl: apt-get install systemd", pytrace=False)
    return found


def shown(*arguments: str) -> list[dict[str, Any]]:
    """The entries that journalctl shows, with every field."""
    command = [str(journalctl()), "--output=json", "--all", "--no-pager", *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails if a process or a descriptor is left at the end."""
    own = psutil.Process()
    before = own.num_fds()
    yield
    assert [child for child in own.children(recursive=True) if child.name() == "journalctl"] == []
    assert own.num_fds() <= before


class Reading:
    """A reader, what it has told, and what it has given."""

    def __init__(self, *arguments: str, after: str | None = None, follow: bool = False) -> None:
        self.told: list[str] = []
        self.lines: list[JournalLine] = []
        self.reader = JournalReader(
            arguments, after, follow=follow, tell=self.told.append, first_wait_s=0.01
        )

    async def next(self) -> str:
        """The message of the next entry."""
        async with asyncio.timeout(LIMIT_S):
            self.lines.append(await anext(self.reader))
        message = parsed(self.lines[-1])["MESSAGE"]
        assert isinstance(message, str)
        return message

    async def some(self, count: int) -> list[str]:
        """The messages of the next entries."""
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[str]:
        """The messages to the end."""
        messages = []
        with suppress(StopAsyncIteration):
            while True:
                messages.append(await self.next())
        return messages


@asynccontextmanager
async def reading(
    *arguments: str, after: str | None = None, follow: bool = False
) -> AsyncIterator[Reading]:
    """A reader, which is closed at the end."""
    began = Reading(*arguments, after=after, follow=follow)
    try:
        yield began
    finally:
        async with asyncio.timeout(LIMIT_S):
            await began.reader.aclose()


def parsed(line: JournalLine) -> dict[str, Any]:
    """The fields of an entry, which has its own cursor."""
    entry = json.loads(line.data)
    assert entry["__CURSOR"] == line.cursor
    assert isinstance(entry, dict)
    return entry


def messages(*numbers: int) -> list[str]:
    """The messages of the entries of these numbers."""
    return [f"m{number}" for number in numbers]


def running() -> psutil.Process:
    """The journalctl that runs."""
    (process,) = psutil.Process().children()
    return process


async def following_process() -> psutil.Process:
    """The journalctl that follows, as soon as there is one."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for process in psutil.Process().children():
                with suppress(psutil.Error):
                    if "--follow" in process.cmdline():
                        return process
            await asyncio.sleep(0.01)
