"""Shipping the journal of systemd."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.journal.reader import JournalReader
from publisher.ship.keeping import JournalOrigin, KeepCursor
from publisher.ship.records.record import ContentNames, Line
from publisher.ship.run_sending import run_sending
from publisher.ship.sending import Sender
from publisher.ship.target import Report, Target

_LINGER_S = 0.2


async def ship_journal(
    arguments: Sequence[str],
    target: Target,
    report: Report,
    stop: asyncio.Event | None,
    *,
    checkpoint: Checkpoint | None,
) -> None:
    """Ship the entries of a journal to its end, or until `stop` is set.

    Args:
        arguments: which entries of which journal, as `journal_arguments` gives them.
        target: where the records go.
        report: whom to tell.
        stop: follow the journal until it is set; None: ship what there is.
        checkpoint: where to go on, and kept behind what is acknowledged.

    Raises:
        JournalUnreadable: the journal can't be read.
        ShipStopped: a request was refused or given up.
        CheckpointRefused, DeadLettersRefused: what was acknowledged can't be kept.
    """
    journal = " ".join(["journal", *arguments])
    origin = JournalOrigin(journal, f"{target.host}:journal")
    after = checkpoint.cursor(journal) if checkpoint is not None else None
    reader = target.line_format.reader(ContentNames(target.host, "journal", "journal"))

    async def send_all(sender: Sender) -> None:
        entries = JournalReader(arguments, after, follow=stop is not None, tell=report.tell_of_file)
        flushing = asyncio.create_task(_flush_now_and_then(sender))
        try:
            async with aclosing(entries):
                async for entry in entries:
                    line = Line(0, entry.data, b"\n", b"", begins=True)
                    records = reader.feed([line], 0.0)
                    await sender.send(origin, records, entry.cursor)
        finally:
            flushing.cancel()

    keep = None if checkpoint is None else KeepCursor(checkpoint)
    await run_sending(send_all, target, report, keep, stop)


async def _flush_now_and_then(sender: Sender) -> None:
    while True:
        await asyncio.sleep(_LINGER_S)
        await sender.flush()
