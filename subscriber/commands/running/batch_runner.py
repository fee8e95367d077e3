"""What becomes of a batch by the end of the command that was given it."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

from subscriber.commands.running.batch_command import BatchCommand, CannotStart, Ended
from subscriber.delivery import MAX_ERROR_CHARACTERS, Batch
from subscriber.errors import HandlerFailed

_PIECE_BYTES = 64 * 1024


class BatchRunner:
    """Handles batches with a command; `Subscriber.run_batches` calls it.

    Args:
        command: is run for each batch.
        stop: ends the handling of further batches.
        is_read: tells whether what the command prints is read by anybody.
    """

    def __init__(
        self, command: BatchCommand, stop: Callable[[], None], is_read: Callable[[], bool]
    ) -> None:
        self._command = command
        self._stop = stop
        self._is_read = is_read
        self.begin_round()

    def begin_round(self) -> None:
        """Begin a round."""
        self._is_ending = False
        self.has_succeeded = False
        """Whether the command has succeeded in this round."""
        self.put_off: str | None = None
        """Why batches are to be handled in another round, one sentence; None: none are."""
        self.has_no_reader = False
        """Whether the command has failed, and nobody reads what it prints any more."""
        self.failure: CannotStart | None = None
        """Why the command can't be started at all."""

    def end_round(self) -> None:
        """Start no more commands in this round; what is left of a batch in halves is released."""
        self._is_ending = True

    async def __call__(self, batch: Batch) -> None:
        """Handle a batch.

        Raises:
            HandlerFailed: the command has failed.
            CancelledError: the batch is to be released, with what it is a half of.
        """
        if self._has_ended():
            raise asyncio.CancelledError
        try:
            ended = await self._command.run(lines(batch))
        except CannotStart as error:
            if error.may_pass:
                self.put_off = str(error)
            else:
                self.failure = error
            self._give_up()
        if ended.status == os.EX_OK:
            self.has_succeeded = True
            return
        if ended.status == os.EX_TEMPFAIL:
            self.put_off = "the command ended with status 75"
            self._give_up()
        if not self._is_read():
            # Or the end of a pipeline would make dead letters.
            self.has_no_reader = True
            self._give_up()
        if self._has_ended() and len(batch) > 1:
            raise asyncio.CancelledError
        raise HandlerFailed(failure_text(ended))

    def _give_up(self) -> NoReturn:
        """End the round, and have the batch released."""
        self.end_round()
        self._stop()
        raise asyncio.CancelledError

    def _has_ended(self) -> bool:
        return self._is_ending


def lines(batch: Batch) -> Iterator[bytes]:
    """Yield the events of a batch as NDJSON, as they were sent, in pieces of many."""
    piece = bytearray()
    for delivery in batch:
        piece += delivery.json + b"\n"
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def failure_text(ended: Ended) -> str:
    """Return the text of an error, for the dead letters: how a command ended, and what it said."""
    how = f"exit status {ended.status}" if ended.status > 0 else f"killed by {_name(-ended.status)}"
    said = ended.said[-(MAX_ERROR_CHARACTERS - len(how) - 2) :]
    return f"{how}: {said}" if said else how


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
