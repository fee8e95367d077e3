"""Lines to an aggregator in order, and the checkpoint behind what it acknowledged."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from publisher.client import Publisher
from publisher.errors import EventInvalid, EventRejected, NotSent, PublishError
from publisher.response import Verdict
from publisher.ship.checkpoint import Checkpoint, Known
from publisher.ship.formats import Format, LineRefused
from publisher.ship.lineage import Line, Progress
from publisher.ship.totals import Totals

Tell = Callable[[str], None]
"""Tells people one sentence, without newline."""


_MAX_UNSENT_LINES = 100
"""How many lines that are no events may wait for those before them."""


class ShipStopped(Exception):
    """A request was not acknowledged; the message is one sentence: which file, where, and why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where lines come from.

    path: of their file, as people know it. source: of their events. content, identity: as in
    Known. keep: whether the checkpoint may go behind them. note: is told how far it went.
    """

    path: Path
    source: str
    content: str
    identity: tuple[int, int]
    keep: bool
    note: Callable[[Known], None]


class _Sent(NamedTuple):
    """A line without its bytes, and its verdict; None if there is nothing in it to send.

    begins, behind: as in Line.
    """

    origin: Origin
    position: int
    size_bytes: int
    begins: bool
    behind: Progress
    verdict: asyncio.Future[Verdict] | None
    refused: str


class Shipper:
    """Sends lines one behind the other, and takes in what becomes of them.

    publisher: an ordered one. totals: counted up with every acknowledgement. checkpoint: follows
    the acknowledgements, if there is one. tell: told of every line that was not stored. on_bytes:
    told how many bytes of the files were acknowledged.

    `send` and `acknowledge` are to run side by side.
    """

    def __init__(
        self,
        publisher: Publisher,
        line_format: Format,
        totals: Totals,
        checkpoint: Checkpoint | None,
        *,
        tell: Tell,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._publisher = publisher
        self._format = line_format
        self._totals = totals
        self._checkpoint = checkpoint
        self._tell = tell
        self._on_bytes = on_bytes
        self._sent: deque[_Sent] = deque()
        self._room = asyncio.Semaphore(_MAX_UNSENT_LINES)
        self._arrived = asyncio.Event()
        self._ended = False

    async def send(self, origin: Origin, lines: Iterable[Line]) -> None:
        """Send lines, waiting while there is no room.

        Once a request was not acknowledged, this waits for good: `acknowledge` raises.
        """
        for line in lines:
            verdict = None
            refused = ""
            try:
                event = self._format.event(line, origin.source)
                if event is not None:
                    verdict = await self._publisher.submit_encoded(event)
            except (LineRefused, EventInvalid) as error:
                refused = str(error)
            except NotSent:
                await asyncio.get_running_loop().create_future()
            if verdict is None:
                # The publisher bounds what has a verdict, and lets others run meanwhile.
                await self._room.acquire()
            piece = line.piece
            size_bytes = len(piece.data) + len(piece.eol)
            self._sent.append(
                _Sent(
                    origin, piece.position, size_bytes, line.begins, line.progress, verdict, refused
                )
            )
            self._arrived.set()

    def end(self) -> None:
        """Let `acknowledge` return once all that was sent is acknowledged."""
        self._ended = True
        self._arrived.set()

    async def acknowledge(self) -> None:
        """Take in verdicts, in the order of the lines, and keep the checkpoint behind them.

        Raises ShipStopped when a request was refused or given up, CheckpointRefused.
        """
        while True:
            while not self._sent:
                if self._ended:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            first = self._sent[0].verdict
            if first is not None and not first.done():
                await asyncio.wait([first])
            self._take_in()

    def _take_in(self) -> None:
        behind: dict[str, _Sent] = {}
        failure: ShipStopped | None = None
        acknowledged_bytes = 0
        while self._sent and (self._sent[0].verdict is None or self._sent[0].verdict.done()):
            sent = self._sent.popleft()
            if sent.verdict is None:
                self._room.release()
            try:
                self._count(sent)
            except ShipStopped as error:
                failure = error
                break
            acknowledged_bytes += sent.size_bytes
            if sent.origin.keep:
                behind[sent.origin.content] = sent
        known = [
            (sent.origin, Known(sent.origin.source, content, sent.origin.identity, sent.behind))
            for content, sent in behind.items()
        ]
        if known and self._checkpoint is not None:
            self._checkpoint.save([entry for _, entry in known])
        for origin, entry in known:
            origin.note(entry)
        self._on_bytes(acknowledged_bytes)
        if failure is not None:
            raise failure

    def abandon(self) -> None:
        """Leave what was not answered for, when nobody waits for `acknowledge` any more."""
        for sent in self._sent:
            # What comes behind a failure is told by that one; asyncio would complain of each.
            if sent.verdict is not None and sent.verdict.done():
                sent.verdict.exception()

    def _count(self, sent: _Sent) -> None:
        if sent.refused:
            self._totals.rejected += 1
            self._tell(f"{_where(sent)} was not sent: {sent.refused}")
        elif sent.verdict is not None:
            try:
                verdict = sent.verdict.result()
            except EventRejected as error:
                self._totals.rejected += 1
                self._tell(f"{_where(sent)} was rejected: {error}")
            except PublishError as error:
                path = os.fspath(sent.origin.path)
                raise ShipStopped(
                    f"{path!r} from byte {sent.position:,} on was not sent: {error}"
                ) from error
            else:
                self._totals.take(verdict)
                if verdict.status == "conflict":
                    self._tell(
                        f"{_where(sent)} is in conflict: topic {verdict.topic!r} has another event "
                        f"with the id {verdict.event_id!r} at offset {verdict.offset:,}, which is "
                        "kept"
                    )
        self._totals.lines += sent.begins


def _where(sent: _Sent) -> str:
    return f"{os.fspath(sent.origin.path)!r} at byte {sent.position:,}"
