"""Events from a stream to standard output, with the position kept in a file behind them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from subscriber.commands.following.newest import Newest
from subscriber.commands.following.position_file import PositionFile
from subscriber.commands.lines import Render
from subscriber.commands.standard_output import StandardOutput
from subscriber.following import Following

_SAVE_S = 1.0
_STOP_S = 1.0


class Tail:
    """Prints events until the stream ends, nobody reads any more, or it is stopped.

    Args:
        output: where they are printed.
        render: what is printed of each.
        newest: holds events back until the stream has caught up; None to print each as it comes.
        file: where the position behind what is printed is kept; None for nowhere.
    """

    def __init__(
        self,
        output: StandardOutput,
        render: Render,
        newest: Newest | None,
        file: PositionFile | None,
    ) -> None:
        self._output = output
        self._render = render
        self._newest = newest
        self._file = file
        self._following: Following | None = None
        self._ends = asyncio.Event()

    async def run(self, following: Following, stop: asyncio.Event) -> None:
        """Print events.

        Args:
            following: the events. `caught_up` is to be called when they have caught up.
            stop: ends it early. What waits to be printed then gets a moment.

        Raises:
            FollowError: the stream ended for good.
            ReaderGone: nobody reads standard output any more.
            CannotPrint: it can't be written.
            PositionFileRefused: the file can't be written.
        """
        self._following = following
        reading = asyncio.create_task(self._read(following))
        writing = asyncio.create_task(self._output.write())
        keeping = asyncio.create_task(self._keep())
        stopping = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[Any]] = [reading, writing, keeping, stopping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            draining = asyncio.create_task(self._output.drain())
            tasks.append(draining)
            printing: list[asyncio.Task[Any]] = [draining, writing]
            await asyncio.wait([*printing, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await asyncio.wait(printing, timeout=_STOP_S, return_when=asyncio.FIRST_COMPLETED)
            self._ends.set()
            await asyncio.wait([keeping])
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def caught_up(self, _: Mapping[str, int]) -> None:
        """Print what was held back."""
        newest, self._newest = self._newest, None
        if newest is not None:
            for event, position in newest.release():
                self._output.put(self._render(event), position)

    async def _read(self, following: Following) -> None:
        async for event in following:
            if self._newest is not None:
                self._newest.hold(event, following.position)
                continue
            self._output.put(self._render(event), following.position)
            await self._output.room()

    async def _keep(self) -> None:
        if self._file is None:
            await self._ends.wait()
            return
        while not self._ends.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), _SAVE_S)
            position = self._printed()
            if position is not None and position != self._file.position:
                await asyncio.to_thread(self._file.save, position)

    def _printed(self) -> str | None:
        """Return the position behind all that is printed; None if it is not known yet."""
        if self._newest is None and self._output.is_written and self._following is not None:
            # It also moves past what the filter leaves out.
            return self._following.position
        return self._output.written
