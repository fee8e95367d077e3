"""A watch on the tokens file: what changes in it is in force within seconds."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from aggregator.access.authority import Access
from aggregator.access.entries import Entry
from aggregator.access.tokens_file import TokensFileBroken, parse, read
from aggregator.logging.observer_guard import notify


class TokensWatch:
    """A watch puts the entries of a tokens file in force, at first and whenever it changes.

    It compares contents: whether a file is written in place, replaced by another one, or reached
    by a link that was turned is the same to it. A file that was emptied to be written anew would be
    taken for one without entries, so a look takes only what the look before it saw as well. While
    the file is broken or missing, the entries before it stay in force.

    Args:
        path: of the file.
        access: gets the entries.
        on_in_force: called with a sentence when a change is in force.
        on_refused: called with a sentence, once for each state of the file that can't be used.
    """

    def __init__(
        self,
        path: Path,
        access: Access,
        on_in_force: Callable[[str], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._path = path
        self._access = access
        self._on_in_force = on_in_force
        self._on_refused = on_refused
        self._turn = asyncio.Lock()
        # Contents of the file, or sentences that say why it can't be read.
        self._in_force: bytes | str | None = None
        self._taken: bytes | str | None = None
        self._seen: bytes | str | None = None
        self._refused = False

    def load(self) -> None:
        """Put the entries in force that are in the file, before anything is served.

        Raises:
            TokensFileBroken: it can't be used.
        """
        content = read(self._path)
        self._access.replace(parse(content, self._path))
        self._in_force = self._taken = self._seen = content

    async def look(self, *, at_once: bool) -> None:
        """Look at the file once; a change is in force if the look before saw the same.

        Args:
            at_once: somebody says that the file is whole, so it is taken as it is. Of a file that
                can't be used they are told, also if it was told before.
        """
        async with self._turn:
            state = await asyncio.to_thread(self._state)
            has_settled, self._seen = state == self._seen, state
            if at_once and self._refused:
                self._taken = None
            if at_once or has_settled:
                await self._take(state)

    def _state(self) -> bytes | str:
        try:
            return read(self._path)
        except TokensFileBroken as error:
            return str(error)

    async def _take(self, state: bytes | str) -> None:
        if state == self._taken:
            return
        try:
            entries = await asyncio.to_thread(self._entries, state)
        except TokensFileBroken as error:
            self._taken, self._refused = state, True
            notify(self._on_refused, f"{error}; what it said before stays in force")
            return
        if state != self._in_force:
            self._access.replace(entries)
        self._in_force = self._taken = state
        self._refused = False
        count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
        notify(self._on_in_force, f"the tokens file {str(self._path)!r} is in force, with {count}")

    def _entries(self, state: bytes | str) -> tuple[Entry, ...]:
        if isinstance(state, str):
            raise TokensFileBroken(state)
        return parse(state, self._path)
