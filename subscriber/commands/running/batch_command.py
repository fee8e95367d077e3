"""The command that handles batches: its start, its pipes, and its end."""

import asyncio
import errno
import os
import shutil
import signal
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from subscriber.commands.running.command_pipes import ErrorRelay, feed
from subscriber.commands.running.error_output import ErrorOutput

_MAX_SAID_CHARACTERS = 4000
_END_S = 5.0
_LOOK_S = 0.05
_PASSING = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EINTR}
)


class CannotStart(Exception):
    """The command can't be started; one sentence.

    Args:
        sentence: the sentence.
        may_pass: whether another attempt may succeed.
    """

    def __init__(self, sentence: str, *, may_pass: bool) -> None:
        super().__init__(sentence)
        self.may_pass = may_pass


class Ended(NamedTuple):
    """The end of a command.

    Args:
        status: its exit status, or minus the number of the signal that has killed it.
        said: the end of what it wrote to its standard error.
    """

    status: int
    said: str


class BatchCommand:
    """Runs a command, as often as is asked for, also several at once.

    Each run is a process group of its own, so that Ctrl-C on the terminal does not reach it. It
    inherits standard output; its standard error is passed on.

    Args:
        command: the program and its arguments.
        variables: are added to the environment.
        errors: where its standard error goes.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], errors: ErrorOutput
    ) -> None:
        self._command = command
        self._environment = os.environ | variables
        self._errors = errors
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """Look for the program.

        Raises:
            CannotStart: it is not there, or no program.
        """
        program = self._command[0]
        if shutil.which(program) is None:
            is_there = os.sep in program and os.path.lexists(program)
            raise self._cannot_start(errno.EACCES if is_there else errno.ENOENT)

    async def run(self, pieces: Iterable[bytes]) -> Ended:
        """Run it once. Cancelled, it ends the command and all of its group.

        Args:
            pieces: are written to its standard input, one behind the other.

        Raises:
            CannotStart: it can't be started.
        """
        with ExitStack() as its_ends, ExitStack() as our_ends:
            try:
                its_input, our_input = _pipe(its_ends, our_ends)
                our_errors, its_errors = _pipe(our_ends, its_ends)
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=its_input,
                    stdout=None if sys.stdout is not None else asyncio.subprocess.DEVNULL,
                    stderr=its_errors,
                    env=self._environment,
                    process_group=0,
                )
            except OSError as error:
                raise self._cannot_start(error.errno) from error
            our_ends.pop_all()
        relay = ErrorRelay(our_errors, self._errors, _MAX_SAID_CHARACTERS)
        self._begin(relay.run(), our_errors)
        feeding = self._begin(feed(our_input, pieces), our_input)
        try:
            await process.wait()
        except BaseException:
            await _end(process)
            raise
        finally:
            # What it has started may go on, with both pipes open.
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        relay.take()
        assert process.returncode is not None  # noqa: S101 - it was waited for
        return Ended(process.returncode, relay.end)

    async def aclose(self) -> None:
        """Pass no more on of what commands have left running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], pipe: int) -> asyncio.Task[None]:
        """Begin work with a pipe, which is closed in the end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            os.close(pipe)

        task.add_done_callback(end)
        return task

    def _cannot_start(self, number: int | None) -> CannotStart:
        reason = os.strerror(number) if number else "unknown error"
        return CannotStart(
            f"cannot start {self._command[0]!r}: {reason}", may_pass=number in _PASSING
        )


def _pipe(of_reader: ExitStack, of_writer: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    of_reader.callback(os.close, reading)
    of_writer.callback(os.close, writing)
    return reading, writing


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command and all of its group: SIGTERM, and SIGKILL after a while.

    A cancellation hurries it.
    """
    try:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
                # Nothing tells when the last of a group is gone.
                while _is_there(process):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
    finally:
        if process.returncode is None or _is_there(process):
            _signal(process, signal.SIGKILL)
        await process.wait()


def _is_there(process: asyncio.subprocess.Process) -> bool:
    """Return whether anything of the group of a command is there."""
    return _signal(process, 0)


def _signal(process: asyncio.subprocess.Process, number: int) -> bool:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
