"""The entries of a journal, over every end of journalctl, without a gap that nobody is told of."""

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, Self

from publisher.ship.journal.cursors import Finding, Search, cursor_of, time_of, without_numbers
from publisher.ship.journal.errors import JournalUnreadable
from publisher.ship.journal.process import MAX_ENTRY_BYTES, Journalctl, NotStarted
from publisher.ship.journal.selection import Selection

_OUTPUT = ("--output=json", "--all", "--no-pager")
_MAX_WAIT_S = 60.0
_LOOK_S = 1.0
_MAX_LOOKS = 30
"""Then journalctl is asked anyway."""
_MAX_FAILURES = 5
_MAX_TOLD = 1000
_OF_OPTIONS = re.compile(r"Pass -q to( turn off this notice\.)?$|^turn off this notice\.$")
"""How its hint is turned off in journalctl, which is of no use here."""

Tell = Callable[[str], None]


class JournalLine(NamedTuple):
    """An entry of a journal.

    Args:
        data: the entry as a JSON object, without a newline.
        cursor: the cursor of the entry.
    """

    data: bytes
    cursor: str


class _CursorGone(Exception):
    """The journal has no entry at which reading is to go on."""


class JournalReader:
    """Reads the entries of a journal in order, an async iterator.

    journalctl is read to the end of the journal, from the entry of the cursor on, which is looked
    for and left out. An entry that is not there is told, and everything is read that is. Only then
    is the journal followed: followed, journalctl shows no boot but the current one.

    Args:
        arguments: what is read, by `journal_arguments` or in options of journalctl.
        after_cursor: the cursor behind which reading begins; None for the journal's beginning.
        follow: whether to go on with what is written to the journal.
        tell: called with sentences for people.
        first_wait_s: seconds until journalctl is started again after its first failure in a row.

    Raises:
        JournalUnreadable: an argument is not understood, or can't be followed.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        after_cursor: str | None,
        *,
        follow: bool,
        tell: Tell,
        first_wait_s: float = 0.5,
    ) -> None:
        self._selection = Selection(tuple(arguments))
        if follow:
            self._selection.check_following()
        self._cursor = after_cursor
        self._follow = follow
        self._tell = tell
        self._told: set[str] = set()
        self._first_wait_s = first_wait_s
        self._failures = 0
        self._has_read = False
        self._all = self._read()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JournalLine:
        """Give the next entry.

        Raises:
            JournalUnreadable: the journal can't be read; when it could be before, and is followed,
                that is waited for instead.
        """
        return await anext(self._all)

    async def aclose(self) -> None:
        """End journalctl. Nobody may be waiting for an entry: cancel who is."""
        await self._all.aclose()

    async def _read(self) -> AsyncGenerator[JournalLine]:
        if (self._follow or self._cursor) and len(writers := self._selection.writers()) > 1:
            self._tell(
                f"{self._selection.directory!r} has the journals of several writers "
                f"({', '.join(writers[:5])}): of these journalctl leaves out what is written with "
                "an earlier time than it has read from another; ship each with a command of its own"
            )
        while True:
            before = self._selection.file_states()
            async with aclosing(self._to_the_end()) as lines:
                async for line in lines:
                    yield line
            if not self._follow:
                return
            if self._selection.files:
                await self._change(before)
                continue
            async with aclosing(self._as_written()) as lines:
                async for line in lines:
                    yield line

    async def _to_the_end(self) -> AsyncGenerator[JournalLine]:
        """The entries that there are, for as many runs as it takes."""
        has_looked = False
        while True:
            try:
                position = self._cursor
                if position and has_looked:
                    position = without_numbers(position)
                run = self._run([], position, self._errors_are_kept, find=True)
                async with aclosing(run) as lines:
                    async for line in lines:
                        yield line
            except _CursorGone:
                # Once more: it may have another number, or journald was making its file anew.
                if not has_looked:
                    has_looked = True
                    await asyncio.sleep(self._first_wait_s)
                    continue
                self._tell(
                    f"the journal has no entry any more at which sending stopped, of "
                    f"{time_of(self._cursor)}: what was written since may be gone from it; "
                    "everything that it has is sent, and what is stored already is not stored twice"
                )
                self._cursor = None
            except _Failed as failure:
                await self._wait_after(failure)
            else:
                return

    async def _as_written(self) -> AsyncGenerator[JournalLine]:
        """The entries as they are written, until journalctl ends."""
        # In a directory the current boot is that of its last entry; merged, there are all boots.
        merge = ["--merge"] if self._selection.directory else []
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            options = ["--follow", "--no-tail", *merge]
            run = self._run(options, self._cursor, self._tell_error, find=False)
            async with aclosing(run) as lines:
                async for line in lines:
                    yield line
            failure = _Failed("journalctl ended", [])
        except _Failed as failed:
            failure = failed
        if loop.time() - began > _MAX_WAIT_S:
            self._failures = 0
        await self._wait_after(failure)

    async def _run(
        self, options: Sequence[str], cursor: str | None, on_error: Tell, *, find: bool
    ) -> AsyncGenerator[JournalLine]:
        """The entries of one run of journalctl.

        Raises:
            _CursorGone: the cursor's entry is not there, and was to be found.
            _Failed: journalctl can't be started, or ended with an error.
        """
        # Not --after-cursor: up to systemd 255 that leaves out an entry when the cursor's is gone.
        position = [] if cursor is None else [f"--cursor={cursor}"]
        arguments = [*_OUTPUT, *options, *position, *self._selection.arguments]
        try:
            async with Journalctl(arguments, on_error) as process:
                behind = self._behind_cursor(process, find=find)
                async with aclosing(behind) as lines:
                    async for line in lines:
                        self._cursor = line.cursor
                        self._failures = 0
                        self._has_read = True
                        yield line
        except NotStarted as error:
            raise _Failed(str(error), []) from error
        for text in process.errors:
            self._tell_error(text)
        self._has_read = True

    async def _behind_cursor(
        self, process: Journalctl, *, find: bool
    ) -> AsyncGenerator[JournalLine]:
        search = Search(self._cursor)
        held: list[JournalLine] = []
        async with aclosing(self._entries(process)) as entries:
            async for line in entries:
                finding = search.look(line.cursor)
                if finding is Finding.FOUND:
                    self._cursor = line.cursor  # that of this journal, which may be a copy
                    held.clear()
                    continue
                held.append(line)
                if finding is Finding.BESIDE:
                    continue
                if finding is Finding.MISSED and find:
                    raise _CursorGone
                for each in held:
                    yield each
                held.clear()
        if status := await process.status():
            raise _Failed(_reason(status), process.errors, was_killed=status < 0)
        if find and not search.is_over:
            raise _CursorGone
        for each in held:
            yield each

    async def _entries(self, process: Journalctl) -> AsyncGenerator[JournalLine]:
        last = self._cursor
        async with aclosing(process.lines()) as lines:
            async for data in lines:
                if data is None:
                    self._tell_once(
                        f"an entry of more than {MAX_ENTRY_BYTES:,} bytes behind that of "
                        f"{time_of(last)} was not sent"
                    )
                elif cursor := cursor_of(data):
                    last = cursor
                    yield JournalLine(data, cursor)
                elif data:
                    text = data[:80].decode(errors="replace")
                    self._tell_once(f"journalctl gave a line that is no entry: {text!r}")

    async def _change(self, before: object) -> None:
        """Wait until a file is written: journalctl does not see files that come later."""
        for _ in range(_MAX_LOOKS):
            if self._selection.file_states() != before:
                return
            await asyncio.sleep(_LOOK_S)

    async def _wait_after(self, failure: "_Failed") -> None:
        """Wait before the next try, longer after each failure; a row of them is told once.

        Raises:
            JournalUnreadable: there is nothing to wait for.
        """
        self._failures += 1
        sentence = ": ".join([failure.reason, " ".join(failure.errors)]).removesuffix(": ")
        if "permission" in sentence.lower():
            sentence += " (the group systemd-journal may read it)"
        refused = not self._has_read and not failure.was_killed
        if refused or (not self._follow and self._failures >= _MAX_FAILURES):
            raise JournalUnreadable(f"the journal can't be read: {sentence}") from failure
        if self._failures == 1:
            self._tell(f"{sentence}; reading goes on behind the last entry as soon as it can")
        await asyncio.sleep(min(self._first_wait_s * 2 ** (self._failures - 1), _MAX_WAIT_S))

    def _errors_are_kept(self, text: str) -> None:
        """What a run says that ends by itself is told at its end, or with its failure."""

    def _tell_error(self, text: str) -> None:
        if sentence := _OF_OPTIONS.sub("", text).strip():
            self._tell_once(f"journalctl: {sentence}")

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(sentence)
            self._tell(sentence)


class _Failed(Exception):
    """journalctl has not come to the end of the journal."""

    def __init__(self, reason: str, errors: Sequence[str], *, was_killed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errors = errors
        self.was_killed = was_killed


def _reason(status: int) -> str:
    if status > 0:
        return f"journalctl ended with status {status}"
    return f"journalctl was killed by {signal.Signals(-status).name}"
