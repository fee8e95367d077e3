"""`python -m subscriber run` and its ends: signals, lost leases, kill -9."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.subscriber_commands import (
    PROGRAM,
    Handler,
    command,
    publish,
    serving,
    subscribed,
    until,
)

WAITS = "wait_for go"
HANGS = f"""cat > "$d/in"
sleep 60 & child=$!
echo $child >> "$d/pids"
echo $$ >> "$d/pids"
{WAITS}
kill $child
ids < "$d/in" >> "$d/effects"
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has topics and subscriptions of its own."""
    with serving(tmp_path_factory) as url:
        yield url


def is_there(pid: str) -> bool:
    """Whether a process has not ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    return False


async def test_first_ctrl_c_lets_the_command_finish_and_the_second_is_not_needed(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "finished", "a", "b", "c")
    handler = Handler(tmp_path / "h", HANGS)
    async with (
        subscribed(url, "finished", order="none") as (name, subscription),
        command(url, "run", name, "--max-events", "2", "--", handler.path) as run,
    ):
        await handler.until_told("pids", 2)
        await until(subscription, 0, 0, 3, 0)
        # As the terminal does: to all of the group, which the command is not in.
        os.killpg(run.process.pid, signal.SIGINT)
        # What was leased ahead is given back while the command goes on.
        await until(subscription, 0, 0, 2, 1)
        handler.tell("go")
        assert await run.ended() == (0, "", "")
        assert handler.told() == ["a", "b"]
        await until(subscription, 2, 0, 0, 1)


async def test_batch_that_fails_behind_a_signal_is_not_halved_but_released(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "halved", "a", "b", "c")
    handler = Handler(tmp_path / "h", f'echo x >> "$d/begun"\n{WAITS}\nexit 1')
    async with (
        subscribed(url, "halved", order="none") as (name, subscription),
        command(url, "run", name, "--max-events", "2", "--", handler.path) as run,
    ):
        await handler.until_told("begun")
        await until(subscription, 0, 0, 3, 0)
        run.process.send_signal(signal.SIGTERM)
        # It is heeded: what was leased ahead is given back.
        await until(subscription, 0, 0, 2, 1)
        handler.tell("go")
        assert await run.ended() == (0, "", "")
        assert handler.told("begun") == ["x"]
        await until(subscription, 0, 0, 0, 3)
        assert (await subscription.look())["redelivered"] == 0


async def test_end_of_the_reader_of_standard_output_makes_no_dead_letters(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "unread", "a", "b", "c")
    handler = Handler(tmp_path / "h", f'echo x >> "$d/begun"\n{WAITS}\ncat')
    async with (
        subscribed(url, "unread", max_deliveries=1) as (name, subscription),
        command(url, "run", name, "--", handler.path) as run,
    ):
        await handler.until_told("begun")
        run.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        handler.tell("go")
        sentence = "nobody reads standard output any more; what was leased is released"
        assert (await run.ended())[::2] == (0, f"{PROGRAM} run: {sentence}\n")
        assert handler.told("begun") == ["x"]
        await until(subscription, 0, 0, 0, 3)


async def test_second_signal_ends_the_command_with_its_group_and_releases_its_batch(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "ended", "a", "b")
    handler = Handler(tmp_path / "h", HANGS)
    async with (
        subscribed(url, "ended") as (name, subscription),
        command(url, "run", name, "--", handler.path) as run,
    ):
        pids = await handler.until_told("pids", 2)
        run.process.send_signal(signal.SIGTERM)
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == (130, "", "")
        await until(subscription, 0, 0, 0, 2)
        assert (await subscription.look())["redelivered"] == 0
    assert [pid for pid in pids if is_there(pid)] == []
    assert handler.told() == []


async def test_signal_ends_it_also_without_an_aggregator_and_in_a_pause(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "paused", "a")
    later = Handler(tmp_path / "h", "exit 75")
    async with command("http://127.0.0.1:1", "run", "billing", "--", "cat") as run:
        assert await run.said() == (
            f"{PROGRAM} run: cannot connect to 127.0.0.1:1: Connection refused; "
            "trying again until there is an answer\n"
        )
        assert await run.ended(signal.SIGTERM) == (0, "", "")
    async with (
        subscribed(url, "paused") as (name, subscription),
        command(url, "run", name, "--until-caught-up", "--", later.path) as run,
    ):
        assert "going on in 1 s" in await run.said()
        assert await run.ended(signal.SIGINT) == (130, "", "")
        await until(subscription, 0, 0, 0, 1)


async def test_lost_lease_ends_the_command_and_another_one_gets_the_batch(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "lost", "a", "b")
    script = f"""cat > "$d/in.$$"
echo $$ >> "$d/pids"
trap 'echo x >> "$d/ended"; exit 0' TERM
{WAITS}
ids < "$d/in.$$" >> "$d/effects"
"""
    handler = Handler(tmp_path / "h", script)
    async with (
        subscribed(url, "lost", lease_ms=1000) as (name, subscription),
        command(url, "run", name, "--until-caught-up", "--", handler.path) as run,
    ):
        await handler.until_told("pids")
        assert await subscription.send("seek", {"from": "start"}) == {"again": 0, "skipped": 0}
        # Its end says nothing of the batch, which is somebody else's, the second one's here.
        await handler.until_told("ended")
        await handler.until_told("pids", 2)
        handler.tell("go")
        status, _, err = await run.ended()
        assert status == 0
        assert "the lease of 2 deliveries was lost, from lost/1 on; they come again\n" in err
        assert (handler.told("ended"), handler.told()) == (["x"], ["a", "b"])
        await until(subscription, 2, 0, 0, 0)


async def test_kill_9_loses_nothing_and_doubles_at_most_what_was_not_acknowledged(
    url: str, tmp_path: Path
) -> None:
    ids = [str(number) for number in range(300)]
    await publish(url, "killed", *ids)
    handler = Handler(tmp_path / "h", 'ids > "$d/in.$$" && cat "$d/in.$$" >> "$d/effects"')
    arguments = ("--until-caught-up", "--max-events", "10", "--", handler.path)
    async with subscribed(url, "killed", lease_ms=1000, backoff_ms=[0]) as (name, subscription):
        async with command(url, "run", name, *arguments) as run:
            await handler.until_told("effects", 50)
            run.process.kill()
            await run.process.wait()
        before = len(handler.told())
        assert before < len(ids)
        acknowledged = (await subscription.look())["acknowledged"]
        async with command(url, "run", name, *arguments) as run:
            assert (await run.ended()).status == 0
        await until(subscription, 300, 0, 0, 0)
    assert set(handler.told()) == set(ids)
    # The command that ran when it was killed may have had its effects, too.
    assert len(handler.told()) - len(ids) <= before + 10 - acknowledged
