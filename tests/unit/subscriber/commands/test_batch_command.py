"""Commands as processes: their pipes, and how they are ended."""

import asyncio
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from support.processes import wait_for

from subscriber.commands.running import batch_command as batch_command_module
from subscriber.commands.running.batch_command import BatchCommand, CannotStart
from subscriber.commands.running.command_pipes import ErrorRelay, feed
from subscriber.commands.running.error_output import ErrorOutput
from subscriber.commands.standard_output import StandardOutput

LIMIT_S = 30.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe; what a test closes is None of this fixture's."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


@pytest.fixture
async def silence() -> ErrorOutput:
    """Standard error that is closed."""
    return ErrorOutput("run", None)


def has_ended(pid: int) -> bool:
    """Whether a process has ended, also where nobody has asked for its status yet."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def descriptors() -> int:
    """The number of descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_feeding_ends_with_the_reader(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    feeding = asyncio.create_task(feed(writing, [b"x" * 1_000_000, b"y"]))
    await asyncio.sleep(0)
    assert not feeding.done()
    os.close(reading)
    async with asyncio.timeout(LIMIT_S):
        await feeding


async def test_relay_keeps_the_end_of_what_came(
    pipe: tuple[int, int], silence: ErrorOutput
) -> None:
    reading, writing = pipe
    relay = ErrorRelay(reading, silence, 5)
    os.write(writing, "é".encode() * 100 + b"\xff\n\n")
    relay.take()
    assert relay.end == "éééé\N{REPLACEMENT CHARACTER}"
    relaying = asyncio.create_task(relay.run())
    await asyncio.sleep(0)
    os.write(writing, b"more")
    os.close(writing)
    async with asyncio.timeout(LIMIT_S):
        await relaying
    assert relay.end.endswith("more")


async def test_standard_error_that_nobody_reads_holds_up_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    errors = ErrorOutput("run", StandardOutput(writing))
    output = errors._output
    assert output is not None
    task = asyncio.create_task(errors._write(output))
    async with asyncio.timeout(LIMIT_S):
        errors.say("x" * 2_000_000)
        waiting = asyncio.create_task(errors.room())
        await asyncio.sleep(0)
        os.close(reading)
        await waiting
        await task
        errors.say("x" * 2_000_000)
        await errors.room()


async def test_start_that_fails_for_lack_of_something_may_pass(silence: ErrorOutput) -> None:
    for number, may_pass in ((errno.EMFILE, True), (errno.EAGAIN, True), (errno.ENOEXEC, False)):

        async def fail(*_: object, number: int = number, **__: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "create_subprocess_exec", fail)
            with pytest.raises(CannotStart, match="cannot start 'cat': ") as raised:
                await BatchCommand(["cat"], {}, silence).run([])
        assert raised.value.may_pass is may_pass


@pytest.mark.usefixtures("processes")
async def test_cancelled_command_that_heeds_no_sigterm_is_killed_with_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silence: ErrorOutput
) -> None:
    monkeypatch.setattr(batch_command_module, "_END_S", 0.1)
    pids = tmp_path / "pids"
    script = "trap '' TERM; sleep 60 & echo $! $$ > $0; while :; do wait; done"
    command = BatchCommand(["/bin/sh", "-c", script, str(pids)], {}, silence)
    running = asyncio.create_task(command.run([]))
    await asyncio.to_thread(
        wait_for, lambda: pids.exists() and pids.read_text().endswith("\n"), "it"
    )
    child, leader = map(int, pids.read_text().split())
    assert os.getpgid(child) == os.getpgid(leader) == leader != os.getpgid(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(leader)
    await asyncio.to_thread(wait_for, lambda: has_ended(child), "the end of its child")
    await command.aclose()


@pytest.mark.usefixtures("processes")
async def test_group_of_a_cancelled_command_has_time_to_end_also_behind_its_leader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silence: ErrorOutput
) -> None:
    monkeypatch.setattr(batch_command_module, "_END_S", LIMIT_S)
    pids, go, bye = (tmp_path / name for name in ("pids", "go", "bye"))
    ends = "until [ -e $1 ]; do sleep 0.01; done; echo > $2; exit"
    child = f"trap '{ends}' TERM; echo > $0.child; while :; do sleep 0.01; done"
    script = f"({child}) & until [ -e $0.child ]; do sleep 0.01; done; echo $$ > $0; wait"
    command = BatchCommand(["/bin/sh", "-c", script, *map(str, (pids, go, bye))], {}, silence)
    running = asyncio.create_task(command.run([]))
    await asyncio.to_thread(
        wait_for, lambda: pids.exists() and pids.read_text().endswith("\n"), "it"
    )
    running.cancel()
    leader = int(pids.read_text())
    await asyncio.to_thread(wait_for, lambda: has_ended(leader), "the end of the leader")
    go.touch()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bye.exists()
    await command.aclose()


@pytest.mark.usefixtures("processes")
async def test_end_of_a_command_is_not_that_of_what_it_leaves_behind(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    errors = ErrorOutput("run", StandardOutput(writing))
    assert errors._output is not None
    printing = asyncio.create_task(errors._write(errors._output))
    go = tmp_path / "go"
    waits = "until [ -e $0 ]; do sleep 0.01; done; echo later >&2"
    # Which has standard input, too, that a shell does not give what it leaves behind by itself.
    script = f"exec 3<&0; ({waits}) <&3 & echo now >&2; exit 3"
    command = BatchCommand(["/bin/sh", "-c", script, str(go)], {}, errors)
    async with asyncio.timeout(LIMIT_S):
        ended = await command.run([b"x" * 1_000_000])
        assert ended == (3, "now")
        go.touch()
        # It still goes to standard error.
        said = b""
        while not said.endswith(b"later\n"):
            said += await asyncio.to_thread(os.read, reading, 100)
    assert said == b"now\nlater\n"
    printing.cancel()
    await command.aclose()


@pytest.mark.usefixtures("processes")
async def test_several_run_at_once_with_the_variables_and_no_more_descriptors(
    silence: ErrorOutput,
) -> None:
    script = "import os,sys; sys.exit(os.environ['X'] != 'é' or len(sys.stdin.buffer.read()) != 9)"
    command = BatchCommand([sys.executable, "-I", "-S", "-c", script], {"X": "é"}, silence)
    await command.run([b"123456789"])
    before = descriptors()
    ended = await asyncio.gather(*(command.run([b"12345", b"6789"]) for _ in range(3)))
    assert [each.status for each in ended] == [0, 0, 0]
    await command.aclose()
    assert descriptors() <= before
