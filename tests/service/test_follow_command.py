"""`python -m subscriber follow` as a process: what it prints, says and ends with."""

import asyncio
import fcntl
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import on_terminal
from support.follow_command import PROGRAM, Ended, following
from support.processes import Aggregator

from publisher import Event, Publisher

Run = Callable[..., Aggregator]
ROOT = Path(__file__).parents[2]
NOTHING_SAID = ""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has a topic of its own."""
    directory = tmp_path_factory.mktemp("aggregator")
    aggregator = Aggregator.start([], log=directory / "log", cwd=directory)
    yield aggregator.url
    aggregator.kill()


@pytest.fixture
def topic() -> str:
    """A topic that no other test has."""
    return f"topic-{uuid.uuid4().hex}"


async def publish(url: str, topic: str, *ids: str) -> None:
    """Publish events, in this order."""
    async with Publisher(url, ordered=True) as publisher:
        for event_id in ids:
            await publisher.submit(Event(topic, {}, "shop", event_id))


async def test_last_of_each_topic_since_a_time_then_what_comes(url: str, topic: str) -> None:
    await publish(url, f"{topic}.eu", *map(str, range(5)))
    await publish(url, f"{topic}.us", *map(str, range(2)))
    await publish(url, topic, "other")
    begin = ("--last", "3", "--since", "1h")
    async with following(url, f"{topic}.*", *begin) as command:
        first = await command.events(5)
        places = [(event["topic"][-2:], event["offset"]) for event in first]
        assert sorted(places) == [
            ("eu", 3), ("eu", 4), ("eu", 5), ("us", 1), ("us", 2)
        ]  # fmt: skip
        await publish(url, f"{topic}.eu", "5")
        # A topic that is there only from now on.
        await publish(url, f"{topic}.uk", "0")
        later = {(event["topic"][-2:], event["offset"]) for event in await command.events(2)}
        assert later == {("eu", 6), ("uk", 1)}
        assert await command.ended(signal.SIGINT) == (0, "", NOTHING_SAID)


async def test_line_is_the_object_of_a_page_and_the_source_is_heeded(url: str, topic: str) -> None:
    raw = b'{"n": 1.50, "big": 123456789012345678901234567890}'
    async with Publisher(url) as publisher:
        await publisher.publish(Event(topic, raw, "web-1", "a"))
        await publisher.publish(Event(topic, {}, "web-2", "b"))
    arguments = (topic, "--from", "start", "--source", "web-1", "--until-caught-up")
    async with following(url, *arguments) as command:
        status, out, err = await command.ended()
    assert (status, err) == (0, NOTHING_SAID)
    (line,) = out.splitlines()
    assert raw.decode() in line
    assert json.loads(line)["event_id"] == "a"


async def test_reader_that_goes_away_ends_it_although_nothing_comes(url: str, topic: str) -> None:
    await publish(url, topic, "a")
    async with following(url, topic, "--from", "start") as command:
        await command.events(1)
        command.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert (await command.ended())[::2] == (0, NOTHING_SAID)


async def test_pipe_that_is_full_holds_up_no_signal_and_the_position_stays_behind_it(
    url: str, topic: str, tmp_path: Path
) -> None:
    await publish(url, topic, *(str(number) for number in range(400)))
    file = tmp_path / "position"
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    try:
        arguments = (topic, "--from", "start", "--position-file", str(file))
        async with following(url, *arguments, stdout=writing) as command:
            os.close(writing)
            # Nothing more of it is read.
            printed = os.read(reading, 1)
            assert await command.ended(signal.SIGTERM) == (0, "", NOTHING_SAID)
        with os.fdopen(reading, "rb") as pipe:
            lines = (printed + pipe.read()).split(b"\n")[:-1]
        reading = -1
    finally:
        if reading >= 0:
            os.close(reading)
    position = json.loads(file.read_text())["position"] if file.stat().st_size else "0"
    assert int(position) <= len(lines) < 400
    # The next run goes on where the reader of the first one was left, at the latest.
    async with following(url, topic, "--position-file", str(file), *arguments[1:3]) as command:
        assert (await command.offsets(1))[0] <= len(lines) + 1


async def test_position_file_goes_on_where_the_last_run_ended(
    url: str, topic: str, tmp_path: Path
) -> None:
    await publish(url, topic, "a", "b")
    file = tmp_path / "position"
    arguments = (topic, "--from", "start", "--position-file", str(file), "--until-caught-up")
    for expected in ["a", "b"], [], ["c"]:
        if "c" in expected:
            await publish(url, topic, "c")
        async with following(url.replace("//", "//user:secret@"), *arguments) as command:
            status, out, err = await command.ended()
        assert [json.loads(line)["event_id"] for line in out.splitlines()] == expected
        assert (status, err) == (0, NOTHING_SAID)
    assert json.loads(file.read_text())["followed"]["url"] == url


async def test_position_file_is_for_one_command_alone_and_for_what_it_followed(
    url: str, topic: str, tmp_path: Path
) -> None:
    file = tmp_path / "position"
    arguments = ("--from", "start", "--position-file", str(file))
    begin = f"python -m subscriber follow: cannot use the position file {str(file)!r}: "
    await publish(url, topic, "a")
    async with following(url, topic, *arguments) as command:
        await command.events(1)
        async with following(url, topic, *arguments) as other:
            expected = f"{begin}another command is using it\n"
            assert await other.ended() == (2, "", expected)
        assert (await command.ended(signal.SIGTERM)).status == 0
    async with following(url, "visits", *arguments, "--source", "shop") as other:
        status, _, err = await other.ended()
    assert status == 2
    assert err == (
        f"{begin}it is that of {topic} at {url}, not of visits from source 'shop' at {url}; "
        "name another with --position-file\n"
    )


async def test_restart_of_the_aggregator_is_said_once_and_survived(
    run_aggregator: Run, tmp_path: Path
) -> None:
    database = ("--database", str(tmp_path / "events.db"))
    first = run_aggregator(*database)
    port = first.url.rpartition(":")[2]
    await publish(first.url, "orders", "a")
    async with following(first.url, "orders", "--from", "start") as command:
        assert await command.offsets(1) == [1]
        await asyncio.to_thread(first.kill)
        assert await command.said() == (
            f"python -m subscriber follow: cannot connect to 127.0.0.1:{port}: Connection refused; "
            "trying again until there is a stream\n"
        )
        second = await asyncio.to_thread(run_aggregator, *database, "--port", port)
        await publish(second.url, "orders", "b")
        assert await command.offsets(1) == [2]
        assert await command.said() == "python -m subscriber follow: going on\n"
        assert await command.ended(signal.SIGINT) == (0, "", NOTHING_SAID)


async def test_ctrl_c_before_it_has_caught_up_is_130(tmp_path: Path) -> None:
    arguments = ("orders", "--until-caught-up")
    async with following("http://127.0.0.1:1", *arguments) as command:
        assert "Connection refused" in await command.said()
        assert await command.ended(signal.SIGINT) == (130, "", NOTHING_SAID)


async def test_gap_is_said_and_the_status_is_1(url: str, topic: str) -> None:
    await publish(url, topic, "a")
    async with following(url, topic, "--after", "7", "--until-caught-up") as command:
        ended = await command.ended()
    sentence = (
        f"the offsets 2 to 7 of {topic!r} are missing: the position is above the topic's head, 1: "
        "is this another log?; going on with 2"
    )
    assert ended == (1, "", f"python -m subscriber follow: {sentence}\n")


REFUSED = [
    ("a --after 1 --last 2", "only one of --from, --after and --last or --since says where"),
    ("a.* --after 1", "after needs a single topic without * and an offset from 0"),
    ("a --since 1yy", "the answer is 422: since '1yy' is not an ISO 8601 date"),
    ("a..*b", "the answer is 422: topic must be the name of a topic, or a pattern"),
    ("a --position-file /dev/null/x", "cannot use the position file '/dev/null/x': "),
    ("a/b", "argument TOPIC: 'a/b' is not 1 to 249 characters of A-Z a-z 0-9 . _ - and *"),
]


async def test_what_cannot_be_is_one_sentence(url: str) -> None:
    async def ended(arguments: str) -> Ended:
        async with following(url, *arguments.split()) as command:
            return await command.ended()

    for (_, sentence), (status, out, err) in zip(
        REFUSED, await asyncio.gather(*(ended(arguments) for arguments, _ in REFUSED)), strict=True
    ):
        assert (status, out) == (2, "")
        assert err.startswith(f"python -m subscriber follow: {sentence}")
        assert err.count("\n") == 1


async def test_terminal_gets_lines_for_people_that_cannot_drive_it(url: str, topic: str) -> None:
    async with Publisher(url) as publisher:
        payload = {"text": "\x1b[31mred\u202e\x7f", "n": 1}
        event = Event(topic, payload, "shop", "a", "2026-01-31T12:00:00.25Z")
        await publisher.publish(event)
    arguments = (topic, "--from", "start", "--url", url)
    plain = (
        f'2026-01-31T12:00:00.250Z {topic} 1 shop {{"text":"\\u001b[31mred\\u202e\\u007f","n":1}}\n'
    )

    def on_screen(env: dict[str, str], text: str, *options: str) -> str:
        with on_terminal(*arguments, *options, cwd=ROOT, env=env, program=PROGRAM) as command:
            command.wait_for_text(text)
            assert command.stop(signal.SIGINT) == 0
            return command.text

    colored, bare, lines = await asyncio.gather(
        asyncio.to_thread(on_screen, {"NO_COLOR": "", "TERM": "xterm"}, '"n":1}'),
        asyncio.to_thread(on_screen, {"NO_COLOR": "1"}, '"n":1}'),
        asyncio.to_thread(on_screen, {}, "ts_ingest", "--format", "json"),
    )
    assert bare == plain
    assert colored.startswith(f"\x1b[2m2026-01-31T12:00:00.250Z\x1b[0m \x1b[36m{topic}\x1b[0m ")
    assert colored.endswith(plain.split("shop")[1])
    assert json.loads(lines)["payload"] == payload
    assert lines.rstrip("\n").isprintable()
