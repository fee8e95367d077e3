"""An event loop whose time passes at once when nothing is ready, and that finds what hangs."""

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_MAX_TURNS = 50_000
_MAX_CANCELLATIONS = 5
_TURNS_OF_A_CANCELLATION = 1000
_TURNS_OF_A_LOOK = 20
_MAX_PAUSE_S = 0.25


class VirtualLoop(asyncio.SelectorEventLoop):
    """Moves its clock on to the next timer, in place of waiting for it.

    Args:
        passed: called with the seconds that have passed, whenever some have.
        max_turns: of the loop; one more fails the test.
    """

    def __init__(
        self, passed: Callable[[float], None] | None = None, max_turns: int = _MAX_TURNS
    ) -> None:
        self._now_s = 1000.0
        self.passed = passed
        """Called with the seconds that have passed, whenever some have."""
        self._turns_left = max_turns
        self.complaints: list[str] = []
        """What was told to nobody: exceptions that nobody retrieved, tasks that were dropped."""
        super().__init__(_Selector(self))
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        """Return the time that has passed."""
        return self._now_s

    def turn(self, wait_s: float | None) -> None:
        """Begin a turn, for which the loop would wait so long.

        Raises:
            AssertionError: nothing will ever go on, or it goes on for ever.
        """
        self._turns_left -= 1
        assert self._turns_left > 0, "it goes on for ever"
        assert wait_s is not None, "it hangs: nothing is ready, and nothing will be"
        if wait_s > 0:
            self._now_s += wait_s
            if self.passed is not None:
                self.passed(wait_s)

    def end(self) -> None:
        """Close the loop, once what is left in it has ended, if it does."""
        for _ in range(_MAX_CANCELLATIONS):
            left = asyncio.all_tasks(self)
            if not left:
                break
            for task in left:
                task.cancel()
            self._turns_left = _TURNS_OF_A_CANCELLATION
            with suppress(AssertionError):
                self.run_until_complete(asyncio.wait(left))
        self.close()

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context['message']}: {context.get('exception')!r}")


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        self._loop.turn(timeout)
        return super().select(0)


def run_virtually(
    work: Coroutine[Any, Any, _Result],
    *,
    passed: Callable[[float], None] | None = None,
    max_turns: int = _MAX_TURNS,
) -> _Result:
    """Run a coroutine to its end in no time.

    Args:
        work: the coroutine.
        passed: called with the seconds that have passed, whenever some have.
        max_turns: of the loop.

    Raises:
        AssertionError: it hangs, goes on for ever, or leaves tasks or exceptions behind.
    """
    loop = VirtualLoop(passed, max_turns)
    try:
        result = loop.run_until_complete(work)
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks are left behind: {left}"
    finally:
        loop.end()
    assert loop.complaints == []
    return result


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Have a test run in no time; nothing may be left behind when it ends."""

    @wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        loops: list[VirtualLoop] = []

        async def noted() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loops.append(loop)
            await test(*arguments, **fixtures)

        run_virtually(noted())
        # What refers to itself is told of when it is collected.
        gc.collect()
        assert loops[0].complaints == []

    return run


async def turns(count: int) -> None:
    """Let others have so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], limit_s: float = 1000.0) -> None:
    """Return once a condition holds: it is looked at in some turns, then ever more rarely.

    Raises:
        TimeoutError: it did not within the limit, of virtual time.
    """
    pause_s = 0.001
    async with asyncio.timeout(limit_s):
        while not condition():
            for _ in range(_TURNS_OF_A_LOOK):
                await asyncio.sleep(0)
                if condition():
                    return
            # Time goes on only where nobody has anything else to do.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
