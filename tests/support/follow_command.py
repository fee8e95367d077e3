"""The command `python -m subscriber follow` as a process of its own."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "subscriber", "follow")
LIMIT_S = 30.0


class Ended(NamedTuple):
    """How it ended, and what it wrote that was not read before."""

    status: int
    out: str
    err: str


class FollowCommand:
    """A running command whose standard output and error are pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next events that it prints as JSON."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            return [json.loads(await self.process.stdout.readuntil()) for _ in range(count)]

    async def offsets(self, count: int) -> list[int]:
        """The offsets of the next events."""
        return [event["offset"] for event in await self.events(count)]

    async def said(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr is not None
        async with asyncio.timeout(LIMIT_S):
            return (await self.process.stderr.readuntil()).decode()

    async def ended(self, number: signal.Signals | None = None) -> Ended:
        """Wait for its end, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, (out or b"").decode(), err.decode())


@asynccontextmanager
async def following(
    url: str, *arguments: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[FollowCommand]:
    """The command, under way; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, "--url", url,
        cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    command = FollowCommand(process)
    try:
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
