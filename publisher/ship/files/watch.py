"""The watch on files and directories: what has changed, as far as the system tells."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from publisher.ship.files.inotify import Events, Notifier, WatchRefused

_EVERYTHING_S = 5.0
"""Network file systems tell nothing of what others write."""
_POLL_S = 0.25
_BUSY_S = 0.05
"""What changes all the time is told of no more often."""


class Changes(NamedTuple):
    """What has changed.

    Attributes:
        names_changed: names may have come or gone in the directories.
        files: paths of the files that may have been written to.
        reason: a sentence why everything counts as changed from now on; told once, else "".
    """

    names_changed: bool
    files: set[Path]
    reason: str = ""


class Watch:
    """A watch tells what changes, or after a time that everything may have changed.

    It is told by inotify, where there is one. Each file and directory is watched for one event,
    then again from when that is told: what is written to all the time costs no more than what is
    written to once. Where inotify is not to be had, everything counts as changed again and again.
    """

    def __init__(self) -> None:
        self._notifier: Notifier | None = None
        self._directories: set[Path] = set()
        self._files: set[Path] = set()
        self._new: set[Path] = set()
        """Files that were not watched before, so that they may have changed."""
        self._are_names_stale = False
        """Whether there may be other files under the names by now."""
        self._reason = ""
        self._polls = False
        self._everything_at = 0.0
        self._not_before = 0.0

    async def __aenter__(self) -> Self:
        self._everything_at = asyncio.get_running_loop().time() + _EVERYTHING_S
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch; a second call does nothing."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.close()

    def update(self, directories: Iterable[Path], files: Iterable[Path]) -> None:
        """Watch these directories and files from now on, and no others.

        A file that was not watched under its path counts as changed at the next `wait`.

        Args:
            directories: whose names matter.
            files: by their paths; one that was deleted and is open by `/proc/self/fd/NUMBER`.
        """
        self._directories = set(directories)
        before, self._files = self._files, set(files)
        self._new = (self._new | (self._files - before)) & self._files
        if self._notifier is None:
            return
        try:
            self._notifier.watch(self._directories, self._files, again=self._are_names_stale)
        except WatchRefused as refused:
            self._give_up(str(refused))
        self._are_names_stale = False

    async def wait(self, timeout_s: float) -> Changes:
        """Wait until something has changed.

        What changes all the time is told of 20 times a second at most, changed names and, without
        inotify, everything 4 times.

        Args:
            timeout_s: to wait at most.

        Returns:
            What has changed since it was told last; nothing after the time, or when a watch has
            ended.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        if not self._new:
            await self._something(min(until, self._everything_at))
        await self._sleep(min(self._not_before, until))
        now = loop.time()
        if now < self._not_before:
            return Changes(names_changed=False, files=set())
        if now >= self._everything_at:
            return self._everything(now)
        return self._told(now)

    async def _something(self, until: float) -> None:
        """Return when inotify has something to tell, or at a time."""
        loop = asyncio.get_running_loop()
        if self._notifier is None:
            await self._sleep(until)
            return
        told = asyncio.Event()
        fd = self._notifier.fd
        loop.add_reader(fd, told.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await told.wait()
        finally:
            loop.remove_reader(fd)

    @staticmethod
    async def _sleep(until: float) -> None:
        # Others get their turn in any case.
        await asyncio.sleep(max(until - asyncio.get_running_loop().time(), 0))

    def _told(self, now: float) -> Changes:
        events = self._taken()
        if events is None:
            return self._everything(now)
        files = (self._new | events.files) & self._files
        self._new = set()
        self._are_names_stale = self._are_names_stale or events.names_changed
        if events.names_changed or files:
            self._not_before = now + (_POLL_S if events.names_changed else _BUSY_S)
        return Changes(events.names_changed, files)

    def _everything(self, now: float) -> Changes:
        self._taken()
        self._new = set()
        self._are_names_stale = True
        self._not_before = now + _POLL_S
        self._everything_at = now + (_POLL_S if self._polls else _EVERYTHING_S)
        reason, self._reason = self._reason, ""
        return Changes(names_changed=True, files=set(self._files), reason=reason)

    def _taken(self) -> Events | None:
        """Return what inotify has told; None if it is not known what it would have told."""
        if self._notifier is None:
            return Events(names_changed=False, files=set(), is_overflown=False)
        try:
            events = self._notifier.take()
        except WatchRefused as refused:
            self._give_up(str(refused))
            return None
        if not events.is_overflown:
            return events
        # Nobody knows which of its watches are over.
        self.close()
        self._open()
        self.update(self._directories, self._files)
        return None

    def _open(self) -> None:
        try:
            self._notifier = Notifier()
        except WatchRefused as refused:
            self._give_up(str(refused))

    def _give_up(self, reason: str) -> None:
        """Let everything count as changed again and again."""
        self.close()
        self._polls = True
        self._reason = f"{reason}, so all files are looked at every {_POLL_S} s"
        self._everything_at = 0.0
