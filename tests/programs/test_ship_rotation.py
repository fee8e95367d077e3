"""Real programs rotate their logs while these are shipped, and while the shipper is away."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from support.load import session
from support.own_postgres import OwnPostgres, own_postgres
from support.processes import Aggregator, wait_for
from support.programs import program
from support.ship_process import ShipProcess, ShipProcesses, closing_all

Run = Callable[..., Aggregator]

FEW, MANY = 60, 1_500


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as client:
        yield client


@pytest.fixture
def url(run_aggregator: Run, tmp_path: Path) -> str:
    database = tmp_path / "events.db"
    return run_aggregator("--backend", "sqlite", "--database", str(database)).url


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o755)
    return directory


class Log(Protocol):
    """A log that a program writes, and that it or another one rotates."""

    @property
    def written(self) -> Sequence[bytes]:
        """All lines that were written; no two are alike."""

    def write(self, lines: int) -> None:
        """Write so many lines."""

    def rotate(self) -> None:
        """Rotate, and have the program write to the new file."""


async def rotate_in_every_state(shippers: ShipProcesses, *logs: Log) -> None:
    """Rotate logs while they are followed, while nobody does, and when the shippers are killed."""

    def write(lines: int) -> None:
        for log in logs:
            log.write(lines)

    def rotate() -> None:
        for log in logs:
            log.rotate()

    async def until_stored() -> None:
        await shippers.until_stored(sum(len(log.written) for log in logs))

    write(FEW)
    await shippers.start()
    await until_stored()
    for lines in (FEW, 1):
        write(lines)
        rotate()
        write(lines)
        # What has come and gone before anybody has looked is nowhere under the name.
        await until_stored()
    await shippers.stop()
    write(FEW)
    rotate()
    write(FEW)
    await shippers.start()
    await until_stored()
    write(MANY // len(logs))
    await shippers.kill_under_way()
    write(FEW)
    rotate()
    write(1)
    await shippers.start()
    await until_stored()
    await shippers.stop()
    await shippers.check(*(log.written for log in logs))


class Rotated:
    """A log of a program that goes on with the file that it holds until it opens it anew.

    Args:
        path: of the log.
        rotate: rotates it.
        late: lines that are written between the rotation and opening it anew; None: the program
            goes on with its file, which was emptied.
    """

    def __init__(self, path: Path, rotate: Callable[[], None], late: int | None) -> None:
        self.path = path
        self.written: list[bytes] = []
        self._rotate = rotate
        self._late = late
        self._file = path.open("ab", buffering=0)

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self.put(f"{self.path.parent.name} line {len(self.written)}".encode())

    def put(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self.written.append(line + b"\n")

    def rotate(self) -> None:
        self._rotate()
        if self._late is not None:
            self.write(self._late)
            self._file.close()
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()


class Logrotate:
    """The real logrotate with some directives, run by hand.

    Args:
        log: the log.
        directory: for its configuration and state.
        directives: for the log.
    """

    def __init__(self, log: Path, directory: Path, directives: Sequence[str]) -> None:
        directory.mkdir(parents=True)
        self._state = directory / "state"
        self._configuration = directory / "logrotate.conf"
        lines = [f"{log} {{", "rotate 50", *directives, "}"]
        self._configuration.write_text("\n".join(lines) + "\n")
        self._configuration.chmod(0o644)

    def __call__(self) -> None:
        wait_for(self._rotates, "logrotate")

    def _rotates(self) -> bool:
        ended = subprocess.run(
            [program("logrotate"), "-f", "-s", self._state, self._configuration],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        # A name that has the second in it can be had once a second.
        assert ended.returncode == 0 or "exists, skipping rotation" in ended.stderr, ended.stderr
        return ended.returncode == 0


DATED = ["dateext", "dateformat -%Y%m%d-%H%M%S"]
LOGROTATE = {
    "create": ["create"],
    "olddir": ["create", "olddir old", "createolddir 755"],
    "dateext": ["create", *DATED],
    "compress": ["create", "compress"],
    "delaycompress": ["create", "compress", "delaycompress"],
    "compressed_with_date": ["create", "compress", "delaycompress", *DATED],
    "copytruncate": ["copytruncate"],
    "copytruncate_compress": ["copytruncate", "compress"],
    "copytruncate_delaycompress": ["copytruncate", "compress", "delaycompress"],
    "copytruncate_olddir": ["copytruncate", "olddir old", "createolddir 755"],
}


@contextmanager
def rotated_by_logrotate(logs: Path, configurations: Path) -> Iterator[list[Rotated]]:
    """A log for each way in which logrotate rotates, in a directory of its own."""
    with ExitStack() as stack:
        rotated: list[Rotated] = []
        for name, directives in LOGROTATE.items():
            path = logs / name / "app.log"
            path.parent.mkdir(mode=0o755)
            # What is written to a file that gzip has removed is gone for everybody.
            late = 0 if directives == ["create", "compress"] else 3
            log = Rotated(
                path,
                Logrotate(path, configurations / name, directives),
                None if "copytruncate" in directives else late,
            )
            stack.callback(log.close)
            rotated.append(log)
        yield rotated


async def test_logs_that_logrotate_rotates_are_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    with rotated_by_logrotate(logs, tmp_path / "logrotate") as rotated:
        async with closing_all(
            ShipProcess(client, url, tmp_path, "paths", *(log.path for log in rotated)),
            # It matches whatever becomes of the logs.
            ShipProcess(client, url, tmp_path, "pattern", f"{logs}/**/app.log*"),
        ) as shippers:
            await rotate_in_every_state(shippers, *rotated)
