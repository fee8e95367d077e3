"""`python -m subscriber lease`: events that are looked at, drained, or kept."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.command import on_terminal
from support.subscriber_commands import (
    COMMANDS,
    PROGRAM,
    ROOT,
    Call,
    caller,
    command,
    publish,
    serving,
    subscribed,
    until,
)

SAYS = f"{PROGRAM} lease: "


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has topics and subscriptions of its own."""
    with serving(tmp_path_factory) as url:
        yield url


@pytest.fixture
def call(url: str, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls commands."""
    return caller(url, capfd)


def counts_of(call: Call, name: str) -> list[int]:
    """Acknowledged, dead, leased and waiting, and how many came again."""
    (shown,) = call(f"subscriptions {name}").objects
    names = ("acknowledged", "dead", "leased", "waiting", "redelivered")
    return [shown[name] for name in names]


def test_look_prints_events_as_they_were_sent_and_releases_them(url: str, call: Call) -> None:
    raw = '{"n": 1.50, "half": "\\ud800"}'
    asyncio.run(publish(url, "looked", "a", "b", "c", payload=raw.encode()))
    call("create looked looked --from start")
    for _ in range(2):
        status, out, err = call("lease looked --max-events 2")
        assert (status, err) == (0, f"{SAYS}leased 2 events, and released what was leased\n")
        lines = out.splitlines()
        assert [json.loads(line)["event_id"] for line in lines] == ["a", "b"]
        assert all(raw in line for line in lines)
        assert counts_of(call, "looked") == [0, 0, 0, 3, 0]


def test_drain_acknowledges_what_is_written_until_nothing_is_left(url: str, call: Call) -> None:
    # Of two topics, and with holes in what is leased: another holds the first of each.
    for topic in "drained.a", "drained.b":
        asyncio.run(publish(url, topic, *(f"{topic}-{number}" for number in range(4))))
    call("create drained drained.* --from start --order none")
    (kept,) = call("lease drained --keep --max-events 1").objects
    first = kept["deliveries"][0]["event"]["event_id"]
    drained = []
    while events := call("lease drained --ack --max-events 3").objects:
        drained += [event["event_id"] for event in events]
    assert len(drained) == len({*drained, first}) - 1 == 7
    assert counts_of(call, "drained") == [7, 0, 1, 0, 0]
    assert call("lease drained --ack") == (0, "", f"{SAYS}there is nothing to lease\n")


async def test_kept_lease_is_settled_by_the_token_that_is_printed(url: str) -> None:
    await publish(url, "kept", "a", "b")
    async with subscribed(url, "kept") as (name, subscription):
        async with command(url, "lease", name, "--keep", "--consumer", "script") as keep:
            status, out, err = await keep.ended()
        assert (status, err) == (
            0,
            f"{SAYS}leased 2 events; the lease runs out in 30 s unless it is extended\n",
        )
        lease = json.loads(out)
        assert [each["delivery"] for each in lease["deliveries"]] == [1, 1]
        await until(subscription, 0, 0, 2, 0)
        await subscription.settle(lease, ack=[["kept", 1, 2]])
        await until(subscription, 2, 0, 0, 0)
        async with command(url, "lease", name, "--keep") as keep:
            status, out, err = await keep.ended()
        assert (status, err) == (0, f"{SAYS}there is nothing to lease\n")
        assert json.loads(out)["lease"] is None


async def test_wait_ends_with_the_first_event_a_signal_or_its_time(url: str) -> None:
    async with subscribed(url, "awaited") as (name, subscription):
        async with (
            command(url, "lease", name, "--wait", "60") as stopped,
            command(url, "lease", name, "--wait", "60") as unread,
            command(url, "lease", name, "--wait", "1") as short,
        ):
            assert await short.ended() == (0, "", f"{SAYS}nothing came within 1 s\n")
            await subscription.until_waited_for(2)
            assert await stopped.ended(signal.SIGTERM) == (130, "", "")
            unread.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            assert (await unread.ended())[::2] == (0, "")
        async with command(url, "lease", name, "--wait", "60", "--ack") as waiting:
            await subscription.until_waited_for(1)
            await publish(url, "awaited", "a")
            assert [event["event_id"] for event in await waiting.events(1)] == ["a"]
            said = f"{SAYS}leased 1 event, and acknowledged what was leased\n"
            assert await waiting.ended() == (0, "", said)
        await until(subscription, 1, 0, 0, 0)


async def test_what_cannot_be_written_is_not_acknowledged_but_released(url: str) -> None:
    # Far more than a pipe holds.
    payload = json.dumps({"text": "x" * 30_000}).encode()
    await publish(url, "unread", *map(str, range(20)), payload=payload)
    released = f"{SAYS}released 20 events; they come again\n"
    async with subscribed(url, "unread") as (name, subscription):
        async with command(url, "lease", name, "--ack") as stopped:
            await stopped.events(1)
            # The rest waits for a reader.
            await until(subscription, 0, 0, 20, 0)
            stopped.process.send_signal(signal.SIGINT)
            await until(subscription, 0, 0, 0, 20)
            assert (await stopped.ended())[::2] == (130, released)
        for option in "--ack", "--keep":
            async with command(url, "lease", name, option) as left:
                assert left.process.stdout is not None
                await left.process.stdout.readexactly(1)
                await until(subscription, 0, 0, 20, 0)
                left.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
                assert (await left.ended())[::2] == (0, released)
            await until(subscription, 0, 0, 0, 20)
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            async with command(url, "lease", name, "--ack", stdout=full) as failed:
                status, _, err = await failed.ended()
        finally:
            os.close(full)
        sentence = "cannot write to standard output: No space left on device"
        assert (status, err) == (1, f"{released}{PROGRAM}: {sentence}\n")
        await until(subscription, 0, 0, 0, 20)
        assert (await subscription.look())["redelivered"] == 0


async def test_lease_that_was_lost_meanwhile_is_not_called_acknowledged(url: str) -> None:
    payload = json.dumps({"text": "x" * 30_000}).encode()
    await publish(url, "lost", *map(str, range(20)), payload=payload)
    async with (
        subscribed(url, "lost") as (name, subscription),
        command(url, "lease", name, "--ack") as drain,
    ):
        await drain.events(1)
        await until(subscription, 0, 0, 20, 0)
        await subscription.send("seek", {"from": "start"})
        assert len(await drain.events(19)) == 19
        status, _, err = await drain.ended()
        assert (status, err.count("\n")) == (1, 1)
        assert "lease" in err
        await until(subscription, 0, 0, 0, 20)


def test_terminal_gets_lines_for_people_that_cannot_drive_it(url: str, call: Call) -> None:
    payload = b'{"text": "\\u001b[31mred\xe2\x80\xae"}'
    asyncio.run(publish(url, "shown", "a", payload=payload))
    call("create shown shown --from start")

    def on_screen(env: dict[str, str], *options: str) -> str:
        arguments = ("lease", "shown", "--url", url, *options)
        with on_terminal(*arguments, cwd=ROOT, env=env, program=COMMANDS) as command:
            with suppress(OSError):
                assert command.process.wait(30) == 0
            command.wait_for_text("leased")
            return command.text.split("\n")[0]

    text = ' shown 1 shop {"text":"\\u001b[31mred\\u202e"}'
    assert on_screen({"NO_COLOR": "1"}).endswith(text)
    assert "\x1b[36mshown\x1b[0m" in on_screen({"NO_COLOR": "", "TERM": "xterm"})
    line = on_screen({}, "--format", "json")
    assert json.loads(line)["payload"] == {"text": "\x1b[31mred\u202e"}
    assert line.isprintable()
