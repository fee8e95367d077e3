"""Following: what is written to files goes out, for as long as they grow."""

import asyncio

from publisher.ship.bookkeeping import Tell
from publisher.ship.files.content import Content
from publisher.ship.files.watch import Watch
from publisher.ship.reading import Reading
from publisher.ship.sending import Sender

_LONGEST_WAIT_S = 5.0
_SLICES_A_TURN = 8


class Following:
    """Sends what is written to files, as the files and the watch on them tell."""

    def __init__(self, reading: Reading, sender: Sender, watch: Watch, tell: Tell) -> None:
        self._reading = reading
        self._sender = sender
        self._watch = watch
        self._tell = tell
        self._clock = asyncio.get_running_loop().time

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set."""
        catalog = self._reading.catalog
        ready: list[Content] = []
        looks = True
        while not stop.is_set():
            if looks:
                await self._look()
                # What has not changed is not read: there may be thousands.
                ready = [
                    each for each in catalog.contents() if each.may_have_more or not each.is_there
                ]
            ready = [each for each in ready if await self._send_some(each)]
            for found in catalog.left(self._clock()):
                await self._sender.send(*found)
            if ready:
                looks = False
                continue
            looks = self._reading.has_replaced
            if looks:
                continue  # nothing tells of what is in the files now
            await self._sender.flush()
            changes = await self._watch.wait(catalog.wait_s(self._clock(), _LONGEST_WAIT_S))
            if changes.reason:
                self._tell(changes.reason)
            changed = {path: catalog.at(path) for path in changes.files}
            looks = (
                changes.names_changed
                or None in changed.values()
                or catalog.has_to_look(self._clock())
            )
            if not looks:
                ready = [each for each in changed.values() if each is not None]
                ready += [each for each in catalog.gone() if each not in ready]

    async def _look(self) -> None:
        paths, sentences = await self._reading.look(self._clock())
        for sentence in sentences:
            self._tell(sentence)
        self._watch.update(self._reading.names.directories(), paths)

    async def _send_some(self, content: Content) -> bool:
        """Send the next records of a content; tell whether there may be more."""
        # What was renamed or deleted goes first, to its end.
        turns = _SLICES_A_TURN if content.is_there else None
        while turns is None or turns > 0:
            found, sentences = await self._reading.read(content, self._clock())
            for sentence in sentences:
                self._tell(sentence)
            if found is None:
                return False
            await self._sender.send(*found)
            turns = None if turns is None else turns - 1
        return True
