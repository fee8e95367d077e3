"""Files that are read again when they change: looked at every second, and at SIGHUP."""

import asyncio
import signal
from contextlib import suppress
from types import FrameType
from typing import Protocol

import structlog

_EVERY_S = 1.0
"""With one look more until a change has settled, well within what is promised, five seconds."""

_log = structlog.get_logger()


class Look(Protocol):
    """A look at files, which takes what is new in them."""

    async def __call__(self, *, at_once: bool) -> None:
        """Look; `at_once`: somebody has said that the files are as they should be."""


class Reloads:
    """The looks at files that may change, made one after the other while the server runs."""

    def __init__(self) -> None:
        self._looks: list[Look] = []
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, look: Look) -> None:
        """Have a look made regularly, and at SIGHUP."""
        self._looks.append(look)

    def start(self) -> None:
        """Begin, if there is anything to look at; called in the main thread.

        Without it SIGHUP goes on to be ignored, as `aggregator.__main__` has it.
        """
        if not self._looks:
            return
        loop = asyncio.get_running_loop()

        def ask(_number: int, _frame: FrameType | None) -> None:
            # The loop may have ended.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._asked.set)

        signal.signal(signal.SIGHUP, ask)
        self._task = asyncio.create_task(self._run(), name="reloads")

    async def aclose(self) -> None:
        """End; SIGHUP is ignored from now on. Idempotent."""
        if self._task is None:
            return
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._asked.wait()
            at_once = self._asked.is_set()
            self._asked.clear()
            for look in self._looks:
                try:
                    await look(at_once=at_once)
                except Exception:  # noqa: BLE001 - the next look may find what can be used
                    _log.exception("reload_failed")
