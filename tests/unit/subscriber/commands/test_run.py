"""The command line of `run`, what becomes of a batch, and the rounds with their pauses."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, Self

import pytest

from subscriber.commands.running import rounds as rounds_module
from subscriber.commands.running.batch_command import BatchCommand, CannotStart, Ended
from subscriber.commands.running.batch_runner import BatchRunner, failure_text, lines
from subscriber.commands.running.rounds import Rounds
from subscriber.commands.running.run import split
from subscriber.errors import HandlerFailed


def test_command_line_is_split_at_the_first_dashes() -> None:
    assert split(["run", "b", "--", "x", "--", "-y"]) == (["run", "b"], ["x", "--", "-y"])
    assert split(["run", "b", "--"]) == (["run", "b"], [])
    assert split(["run", "b"]) == (["run", "b"], [])
    assert split(["follow", "--", "b"]) == (["follow", "--", "b"], [])
    assert split([]) == ([], [])


def test_error_has_how_it_ended_and_the_end_of_what_was_said() -> None:
    assert failure_text(Ended(3, "")) == "exit status 3"
    assert failure_text(Ended(-9, "no")) == "killed by SIGKILL: no"
    assert failure_text(Ended(-63, "")) == "killed by signal 63"
    long = failure_text(Ended(1, "x" * 3999 + "."))
    assert (len(long), long[:16], long[-1]) == (4000, "exit status 1: x", ".")


def batch(*events: bytes) -> Any:
    """A batch of events with these texts."""
    return [SimpleNamespace(json=event) for event in events]


def test_lines_are_those_of_the_events_in_pieces_of_many() -> None:
    events = [b"x" * 20_000, b"y" * 50_000, b"z"]
    pieces = list(lines(batch(*events)))
    assert b"".join(pieces) == b"".join(event + b"\n" for event in events)
    assert len(pieces) == 2


class Scripted:
    """Stands in for a command, and ends as it is told to."""

    def __init__(self, *ends: int | CannotStart) -> None:
        self.ends = list(ends)

    async def run(self, pieces: Iterable[bytes]) -> Ended:
        assert b"".join(pieces) in {b"{}\n", b"{}\n{}\n"}
        end = self.ends.pop(0)
        if isinstance(end, CannotStart):
            raise end
        return Ended(end, "")


def runner(*ends: int | CannotStart, is_read: bool = True) -> tuple[BatchRunner, list[None]]:
    """A runner whose command ends so, and its calls of `stop`."""
    stopped: list[None] = []
    command: Any = Scripted(*ends)
    return BatchRunner(command, lambda: stopped.append(None), lambda: is_read), stopped


async def test_batch_is_put_off_by_75_and_by_what_keeps_the_command_from_starting_now() -> None:
    for end, reason in (
        (os.EX_TEMPFAIL, "the command ended with status 75"),
        (CannotStart("too many", may_pass=True), "too many"),
    ):
        run, stopped = runner(end, 0)
        with pytest.raises(asyncio.CancelledError):
            await run(batch(b"{}"))
        assert (run.put_off, len(stopped), run.failure) == (reason, 1, None)
        # As the other half of the batch would be.
        with pytest.raises(asyncio.CancelledError):
            await run(batch(b"{}"))
        run.begin_round()
        assert run.put_off is None
        await run(batch(b"{}"))
        assert (run.has_succeeded, len(stopped)) == (True, 1)


async def test_command_that_can_never_start_ends_everything_and_another_end_is_a_failure() -> None:
    run, stopped = runner(CannotStart("not there", may_pass=False), 74)
    with pytest.raises(asyncio.CancelledError):
        await run(batch(b"{}"))
    assert str(run.failure) == "not there"
    assert len(stopped) == 1
    run.begin_round()
    with pytest.raises(HandlerFailed, match="exit status 74"):
        await run(batch(b"{}"))


async def test_failure_puts_nothing_off_where_the_round_ends_but_what_failed_alone() -> None:
    class Ending(Scripted):
        async def run(self, pieces: Iterable[bytes]) -> Ended:
            run.end_round()
            return await super().run(pieces)

    command: Any = Ending(1, 1, 0)
    run = BatchRunner(command, lambda: None, lambda: True)
    with pytest.raises(asyncio.CancelledError):
        await run(batch(b"{}", b"{}"))
    run.begin_round()
    with pytest.raises(HandlerFailed):
        await run(batch(b"{}"))
    run.begin_round()
    await run(batch(b"{}", b"{}"))
    assert (run.put_off, run.has_succeeded) == (None, True)


async def test_failure_without_a_reader_of_standard_output_is_none_of_the_events() -> None:
    run, stopped = runner(0, 141, is_read=False)
    await run(batch(b"{}"))
    with pytest.raises(asyncio.CancelledError):
        await run(batch(b"{}"))
    assert (run.has_no_reader, run.put_off, len(stopped)) == (True, None, 1)


class Subscribed:
    """Stands in for a subscriber that has one batch."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def run_batches(
        self, handler: Callable[[Any], Awaitable[None]], max_events: int, **_: object
    ) -> None:
        assert max_events == 7
        # As the library takes it: the batch is released.
        await asyncio.gather(handler(batch(b"{}")), return_exceptions=True)
        await asyncio.gather(handler(batch(b"{}")), return_exceptions=True)

    def stop(self) -> None:
        pass


async def test_pauses_grow_up_to_a_limit_and_begin_anew_behind_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds_module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(rounds_module, "_MAX_PAUSE_S", 0.004)
    command: Any = Scripted(75, 75, 75, 75, 0, 75, 75, 0, 0)
    said: list[str] = []
    make: Any = Subscribed
    rounds = Rounds(
        make, command, max_events=7, concurrency=1, until_caught_up=True, say=said.append
    )
    await rounds.run()
    pauses = [float(sentence.split()[-2]) for sentence in said]
    assert pauses == [0.001, 0.002, 0.004, 0.004, 0.001, 0.002]
    assert not rounds.is_stopped


async def test_stop_ends_a_pause_and_an_entering_that_does_not_end() -> None:
    class Entering(Subscribed):
        async def __aenter__(self) -> Self:
            entering.set()
            await asyncio.Event().wait()
            return self

    entering = asyncio.Event()
    for kind, command in ((Subscribed, Scripted(75)), (Entering, Scripted())):
        said: asyncio.Queue[str] = asyncio.Queue()
        make: Any = kind
        commands: Any = command
        rounds = Rounds(
            make,
            commands,
            max_events=7,
            concurrency=1,
            until_caught_up=True,
            say=said.put_nowait,
        )
        running = asyncio.create_task(rounds.run())
        await (entering.wait() if kind is Entering else said.get())
        rounds.stop()
        await running
        assert rounds.is_stopped


def test_program_is_looked_for_before_anything_is_leased() -> None:
    errors: Any = None
    BatchCommand(["cat"], {}, errors).check()
    for program, reason in (
        ("no-such-program", "No such file or directory"),
        ("./no/such", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
    ):
        with pytest.raises(CannotStart, match=f"cannot start '{program}': {reason}") as raised:
            BatchCommand([program], {}, errors).check()
        assert not raised.value.may_pass
