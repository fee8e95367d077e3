"""Shipping in the test's event loop, as the arguments of the command have it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from publisher import connection_options
from publisher.cli import Parser
from publisher.retry import RetryPolicy
from publisher.ship import command
from publisher.ship.arguments import add_arguments
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.state import ContentState
from publisher.ship.ship import follow, ship
from publisher.ship.ship_letters import ship_letters
from publisher.ship.ship_stream import ship_stream
from publisher.ship.target import Report
from publisher.ship.totals import Totals

PATIENT = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)
HOST = "web1"


class Shipping:
    """A run of the command, and what it tells.

    Args:
        url: of the aggregator.
        arguments: of the command, without files; by default the topic is `logs`, the host HOST.
        policy: of requests.
        batch_events: in a request.
    """

    def __init__(
        self,
        url: str,
        *arguments: str | Path,
        policy: RetryPolicy = PATIENT,
        batch_events: int = 8,
    ) -> None:
        parser = Parser(prog="ship")
        add_arguments(parser)
        given = ["-", "--url", url, "--topic", "logs", "--host", HOST]
        self.parsed = parser.parse_args([*given, *(os.fspath(each) for each in arguments)])
        assert connection_options.take(self.parsed) == []
        command._check(self.parsed)
        made = command._target(self.parsed)
        self.target = replace(made, policy=policy, batch_events=batch_events)
        self.totals = Totals()
        self.told: list[str] = []
        self.expected_bytes = 0
        self.bytes = 0
        self.stop = asyncio.Event()
        self.read_all = True

    @contextmanager
    def checkpoint(self, path: Path) -> Iterator[Checkpoint]:
        """Open a checkpoint as the command would."""
        with Checkpoint.opened(path, command._shipped_to(self.parsed)) as checkpoint:
            yield checkpoint

    async def once(self, *names: Path, checkpoint: Checkpoint | None = None) -> Totals:
        """Ship files once."""
        self.read_all = await ship(names, self.target, self._report(), checkpoint=checkpoint)
        return self.totals

    async def once_with(self, state: Path, *names: Path) -> Totals:
        """Ship files once with the checkpoint at a path."""
        with self.checkpoint(state) as checkpoint:
            return await self.once(*names, checkpoint=checkpoint)

    async def follow(self, state: Path, *names: Path) -> None:
        """Follow files with the checkpoint at a path, until `stop` is set."""
        with self.checkpoint(state) as checkpoint:
            await follow(names, self.target, self._report(), self.stop, checkpoint=checkpoint)

    async def stream(self, file: int) -> None:
        """Ship what a descriptor has, until its end or until `stop` is set."""
        await ship_stream(file, self.target, self._report(), self.stop)

    async def resend(self, letters: Path) -> Totals:
        """Ship dead letters."""
        self.read_all = await ship_letters(letters, self.target, self._report())
        return self.totals

    def _report(self) -> Report:
        told = self.told.append
        return Report(self.totals, told, told, self._expect, self._advance, self._retry)

    def _expect(self, total_bytes: int) -> None:
        self.expected_bytes = total_bytes

    def _advance(self, acknowledged_bytes: int) -> None:
        self.bytes += acknowledged_bytes

    def _retry(self, _: object) -> None:
        self.totals.retries += 1


def states_of(state: Path, url: str, *arguments: str | Path) -> list[ContentState]:
    """What a checkpoint that nobody has open knows of contents."""
    with Shipping(url, *arguments).checkpoint(state) as checkpoint:
        return checkpoint.contents()
