"""The commands of `python -m subscriber` that are about subscriptions, and what they work on."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from publisher import Event, Publisher
from subscriber.__main__ import main
from support.command import environment
from support.follow_command import FollowCommand
from support.processes import Aggregator, wait_for
from support.remote_subscription import RemoteSubscription
from support.subscribing import counts

ROOT = Path(__file__).parents[2]
PROGRAM = "python -m subscriber"
COMMANDS = (sys.executable, "-m", "subscriber")


@contextmanager
def serving(directories: pytest.TempPathFactory) -> Iterator[str]:
    """An aggregator, of which the URL is given, until the end."""
    directory = directories.mktemp("aggregator")
    aggregator = Aggregator.start([], log=directory / "log", cwd=directory)
    try:
        yield aggregator.url
    finally:
        aggregator.kill()


async def publish(url: str, topic: str, *ids: str, payload: bytes | None = None) -> None:
    """Publish events, in this order."""
    async with Publisher(url, ordered=True) as publisher:
        for event_id in ids:
            await publisher.submit(Event(topic, payload or {"id": event_id}, "shop", event_id))


@asynccontextmanager
async def subscribed(
    url: str, *topics: str, **settings: Any
) -> AsyncIterator[tuple[str, RemoteSubscription]]:
    """A subscription with a name of its own, from the start of its topics."""
    name = f"s-{uuid.uuid4().hex}"
    async with aiohttp.ClientSession() as session:
        subscription = RemoteSubscription(session, url, name)
        await subscription.make(*topics, **settings)
        yield name, subscription


async def until(subscription: RemoteSubscription, *wanted: int) -> None:
    """Return once so many events are acknowledged, dead, leased and waiting."""
    async with asyncio.timeout(30):
        while counts(await subscription.look()) != list(wanted):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def command(
    url: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
) -> AsyncIterator[FollowCommand]:
    """A command as a process in a group of its own, under way; it is killed at the end."""
    name, *rest = map(str, arguments)
    process = await asyncio.create_subprocess_exec(
        *COMMANDS, name, "--url", url, *rest,
        cwd=ROOT,
        env=environment(env),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )  # fmt: skip
    try:
        yield FollowCommand(process)
    finally:
        if process.returncode is None:
            process.kill()
            # What it has started may hold on to its pipes.
            process._transport.close()  # type: ignore[attr-defined]
            await process.wait()


_FUNCTIONS = r"""
ids() { sed 's/.*"event_id":"\([^"]*\)".*/\1/'; }
wait_for() {
    n=0
    until [ -e "$d/$1" ]; do n=$((n + 1)); [ $n -le 3000 ] || exit 99; sleep 0.01; done
}
"""


class Handler:
    """A shell script as a command for batches, with a folder for its effects.

    Its variable `d` is the folder. `ids` gives the ids of the events on its standard input, and
    `wait_for NAME` waits, for half a minute at least, until a file is in the folder.

    Args:
        folder: empty, or not there.
        script: its lines.
    """

    def __init__(self, folder: Path, script: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.path = folder / "handler"
        self.path.write_text(f"#!/bin/sh\nd='{folder}'\n{_FUNCTIONS}\n{script}\n")
        self.path.chmod(0o755)

    def told(self, name: str = "effects") -> list[str]:
        """The lines of one of its files; none if it is not there yet."""
        file = self._folder / name
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def tell(self, name: str) -> None:
        """Make a file that it waits for."""
        (self._folder / name).touch()

    async def until_told(self, name: str, lines: int = 1) -> list[str]:
        """The lines of one of its files, once there are so many."""
        await asyncio.to_thread(wait_for, lambda: len(self.told(name)) >= lines, f"{name} of it")
        return self.told(name)


class Done(NamedTuple):
    """What a command has done.

    Args:
        status: its exit status.
        out: what it has printed.
        err: what it has said.
    """

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """What it has printed as NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Done]


def caller(url: str, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls commands in this process, with the arguments of one text."""

    def call(arguments: str) -> Done:
        name, *rest = arguments.split()
        try:
            status = main([name, "--url", url, *rest])
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capfd.readouterr())

    return call
