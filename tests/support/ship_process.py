"""A real `ship --follow`, stopped, killed and started again, and what an aggregator has of it."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from publisher.ship.log_events import line_bytes
from support.load import LIMIT_S, get_json, read_log

BATCH_EVENTS = 50
HOST = "machine"


class ShipProcess:
    """Runs `ship --follow` to a topic of its own, and runs it again.

    Args:
        client: asks the aggregator.
        url: of the aggregator.
        directory: for its checkpoint and for what it says.
        topic: of the lines.
        arguments: of the command: paths, patterns, options.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        url: str,
        directory: Path,
        topic: str,
        *arguments: Path | str,
    ) -> None:
        self._client = client
        self._url = url
        self.topic = topic
        self._command = [
            *("-m", "publisher", "ship", "--follow", "--url", url, "--topic", topic),
            *("--batch-events", str(BATCH_EVENTS), "--host", HOST),
            *("--checkpoint", str(directory / f"{topic}.checkpoint"), *map(str, arguments)),
        ]
        self._said = directory / f"{topic}.said"
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it may not have looked at any file yet."""
        with self._said.open("ab") as said:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable, *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=said
            )

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        assert await self._end(signal.SIGTERM) == 0, self.said()

    async def kill(self) -> None:
        """End it as the machine would."""
        await self._end(signal.SIGKILL)

    async def close(self) -> None:
        """Kill it if it runs."""
        if self._running is not None and self._running.returncode is None:
            await self._end(signal.SIGKILL)

    def said(self) -> list[str]:
        """What it said on stderr, but that a name leads nowhere while a log is rotated."""
        lines = self._said.read_text().splitlines()
        return [line for line in lines if not line.endswith(" is not there")]

    async def received(self) -> int:
        """How many lines the aggregator got, again those that it has already."""
        return await self._count("received")

    async def until_stored(self, lines: int) -> None:
        """Return once the aggregator has so many different lines."""
        try:
            async with asyncio.timeout(LIMIT_S / 3):
                while await self._count("unique_processed") < lines:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            stored = await self._count("unique_processed")
            raise AssertionError(
                f"{self.topic}: {stored} of {lines} are stored; {self.said()}"
            ) from None

    async def events(self) -> list[dict[str, Any]]:
        """What is stored, in the order in which it was."""
        return await read_log(self._client, self._url, self.topic)

    async def contents(self) -> dict[str, list[bytes]]:
        """The lines of each content; fails if one is out of order or does not join."""
        contents: dict[str, list[bytes]] = {}
        behind: dict[str, int] = {}
        for event in await self.events():
            name, payload = event["event_id"].split("-")[0], event["payload"]
            line = line_bytes(payload)
            assert behind.setdefault(name, payload["position"]) == payload["position"], event
            behind[name] += len(line)
            contents.setdefault(name, []).append(line)
        return contents

    async def check(self, *logs: Sequence[bytes]) -> None:
        """Check what is stored of logs, of which no two lines are alike.

        Each line is stored once, those of a file in their order, and nothing was said.
        """
        contents = (await self.contents()).values()
        stored = Counter(line for lines in contents for line in lines)
        written = Counter(line for lines in logs for line in lines)
        lost, again = written - stored, stored - written
        assert not lost, f"{self.topic}: {len(lost)} lines are not stored: {list(lost)[:5]}"
        assert not again, f"{self.topic}: {len(again)} lines again: {list(again)[:5]}"
        places = {line: place for lines in logs for place, line in enumerate(lines)}
        for lines in contents:
            order = [places[line] for line in lines]
            assert order == sorted(order), f"{self.topic}: {order}"
        assert not self.said(), self.said()

    async def _count(self, name: str) -> int:
        stats = await get_json(self._client, f"{self._url}/stats")
        return int(stats["topics"].get(self.topic, {name: 0})[name])

    async def _end(self, number: int) -> int:
        assert self._running is not None
        assert self._running.returncode is None, self.said()
        self._running.send_signal(number)
        return await self._running.wait()


class ShipProcesses:
    """Several that ship the same logs by different names.

    Args:
        each: the processes.
    """

    def __init__(self, *each: ShipProcess) -> None:
        self.each = each

    async def start(self) -> None:
        """Start all of them."""
        for process in self.each:
            await process.start()

    async def stop(self) -> None:
        """Stop all of them in an orderly way."""
        await asyncio.gather(*(process.stop() for process in self.each))

    async def kill_under_way(self) -> None:
        """Kill each as soon as it has sent something more."""

        async def kill(process: ShipProcess) -> None:
            before = await process.received()
            async with asyncio.timeout(LIMIT_S):
                while await process.received() == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            await process.kill()

        await asyncio.gather(*(kill(process) for process in self.each))

    async def until_stored(self, lines: int) -> None:
        """Return once each has stored so many lines."""
        await asyncio.gather(*(process.until_stored(lines) for process in self.each))

    async def check(self, *logs: Sequence[bytes]) -> None:
        """Check each as a process checks itself."""
        for process in self.each:
            await process.check(*logs)


@asynccontextmanager
async def closing_all(*each: ShipProcess) -> AsyncIterator[ShipProcesses]:
    """Processes that are killed at the end, if they still run."""
    async with AsyncExitStack() as stack:
        for process in each:
            stack.push_async_callback(process.close)
        yield ShipProcesses(*each)
