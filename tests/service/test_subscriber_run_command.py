"""`python -m subscriber run` as a process: what becomes of a batch by how its command ends."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
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

CAUGHT_UP = "--until-caught-up"
KEEP = 'ids > "$d/ids.$$"'
APPEND = 'cat "$d/ids.$$" >> "$d/effects"'
"""All that came at once."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has topics and subscriptions of its own."""
    with serving(tmp_path_factory) as url:
        yield url


async def last_errors(url: str, name: str) -> list[str]:
    """The errors of the dead letters of a subscription."""
    async with aiohttp.request("GET", f"{url}/subscriptions/{name}/dead") as response:
        return [letter["last_error"] for letter in await response.json()]


async def test_status_0_acknowledges_what_the_command_got_as_it_was_sent(
    url: str, tmp_path: Path
) -> None:
    raw = b'{"n": 1.50, "big": 123456789012345678901234567890}'
    await publish(url, "exact", "a", "b", payload=raw)
    handler = Handler(tmp_path / "h", 'echo "$AGGREGATOR_URL $AGGREGATOR_SUBSCRIPTION $@"; cat')
    async with subscribed(url, "exact") as (name, subscription):
        arguments = ("run", name, CAUGHT_UP, "--", handler.path, "--", "-x", "a b")
        # Nothing of it is for the command.
        async with command(url, *arguments, stdin=asyncio.subprocess.PIPE) as run:
            status, out, err = await run.ended()
        assert (status, err) == (0, "")
        told, *lines = out.splitlines()
        assert told == f"{url} {name} -- -x a b"
        assert [json.loads(line)["event_id"] for line in lines] == ["a", "b"]
        assert all(raw.decode() in line for line in lines)
        await until(subscription, 2, 0, 0, 0)


async def test_poison_among_a_hundred_alone_is_dead_and_the_others_have_their_effects_once(
    url: str, tmp_path: Path
) -> None:
    ids = [f"e-{number}" for number in range(100)]
    ids[61] = "poison"
    await publish(url, "poisoned", *ids)
    script = f"""{KEEP}
if grep -q poison "$d/ids.$$"; then echo "begin" >&2; echo "no poison, please" >&2; exit 3; fi
{APPEND}
"""
    handler = Handler(tmp_path / "h", script)
    settings = {"backoff_ms": [0], "max_deliveries": 2}
    async with subscribed(url, "poisoned", **settings) as (name, subscription):
        async with command(url, "run", name, CAUGHT_UP, "--", handler.path) as run:
            status, _, err = await run.ended()
        assert status == 0
        assert handler.told() == [each for each in ids if each != "poison"]
        await until(subscription, 99, 1, 0, 0)
        assert await last_errors(url, name) == ["exit status 3: begin\nno poison, please"]
    # It is passed on, too, and what is said beside it is one line.
    assert "\nno poison, please\n" in err
    retried = "poisoned/62 failed: exit status 3: begin no poison, please\n"
    assert f"{PROGRAM} run: delivery 2 of {retried}" in err


async def test_error_of_a_dead_letter_is_the_status_and_the_end_of_what_was_said(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "said", "killed", "silent", "loud")
    # In bytes that are no text, and more of them than are kept.
    script = """case $(ids) in
    killed) kill -SEGV $$ ;;
    silent) exit 1 ;;
    loud) head -c 9000 /dev/zero | tr '\\0' x >&2; printf 'end\\377\\n' >&2; exit 7 ;;
    *) exit 2 ;;
esac"""
    handler = Handler(tmp_path / "h", script)
    async with subscribed(url, "said", order="none", max_deliveries=1) as (name, _):
        async with command(url, "run", name, CAUGHT_UP, "--", handler.path) as run:
            await run.process.communicate()
            assert run.process.returncode == 0
        assert await last_errors(url, name) == [
            "killed by SIGSEGV",
            "exit status 1",
            f"exit status 7: {'x' * (4000 - 15 - 4)}end\N{REPLACEMENT CHARACTER}",
        ]


async def test_status_75_releases_the_batch_and_what_of_it_was_not_reached_until_the_next_round(
    url: str, tmp_path: Path
) -> None:
    ids = ["a", "b", "c", "d", "e", "f", "g", "h"]
    await publish(url, "later", *ids)
    script = f"""{KEEP}
if [ $(wc -l < "$d/ids.$$") -gt 2 ]; then exit 1; fi
if grep -q c "$d/ids.$$" && [ ! -e "$d/again" ]; then exit 75; fi
{APPEND}
"""
    handler = Handler(tmp_path / "h", script)
    async with (
        subscribed(url, "later", order="none") as (name, subscription),
        command(url, "run", name, CAUGHT_UP, "--", handler.path) as run,
    ):
        while "halves" in (said := await run.said()):
            pass
        assert said == f"{PROGRAM} run: the command ended with status 75; going on in 1 s\n"
        # What came before it in the halves is done, and in the pause nothing is leased.
        await until(subscription, 2, 0, 0, 6)
        handler.tell("again")
        assert (await run.ended()).status == 0
        assert sorted(handler.told()) == ids
        assert (await subscription.look())["redelivered"] == 0


async def test_command_that_turns_out_to_be_no_program_is_status_2_and_releases_the_batch(
    url: str, tmp_path: Path
) -> None:
    await publish(url, "unstarted", "a", "b")
    handler = Handler(tmp_path / "h", "")
    handler.path.write_text("#!/no/such/interpreter\n")
    async with subscribed(url, "unstarted") as (name, subscription):
        async with command(url, "run", name, "--", handler.path) as run:
            sentence = f"cannot start '{handler.path}': No such file or directory"
            assert await run.ended() == (2, "", f"{PROGRAM} run: {sentence}\n")
        await until(subscription, 0, 0, 0, 2)
        assert (await subscription.look())["redelivered"] == 0


async def test_large_batch_goes_through_and_its_end_need_not_be_read(
    url: str, tmp_path: Path
) -> None:
    payload = json.dumps({"text": "x" * 1_000_000}).encode()
    await publish(url, "large", *(str(number) for number in range(9)), payload=payload)
    loud = "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2"
    whole = Handler(tmp_path / "whole", f'{loud}\nwc -l >> "$d/effects"')
    early = Handler(tmp_path / "early", 'head -n 1 | wc -l >> "$d/effects"')
    # It has left something behind that keeps all of its pipes open.
    behind = Handler(
        tmp_path / "behind",
        'exec 3<&0; sleep 60 <&3 >/dev/null & echo $! > "$d/pid"; echo 1 >> "$d/effects"',
    )

    async def handled(handler: Handler) -> list[str]:
        async with subscribed(url, "large") as (name, subscription):
            async with command(url, "run", name, CAUGHT_UP, "--", handler.path) as run:
                assert (await run.ended()).status == 0
            await until(subscription, 9, 0, 0, 0)
        return handler.told()

    try:
        batches = await asyncio.gather(*(handled(each) for each in (whole, early, behind)))
    finally:
        for pid in behind.told("pid"):
            os.kill(int(pid), signal.SIGKILL)
    assert sum(map(int, batches[0])) == 9
    assert set(batches[1]) == set(batches[2]) == {"1"}


async def test_order_of_each_topic_is_kept_by_commands_that_run_at_once(
    url: str, tmp_path: Path
) -> None:
    topics = ["ordered.a", "ordered.b"]
    ids = {topic: [f"{topic}-{number}" for number in range(10)] for topic in topics}
    for topic in topics:
        await publish(url, topic, *ids[topic])
    # Each waits until there was one for the other topic, too.
    script = f"""{KEEP}
topic=$(head -n 1 "$d/ids.$$" | cut -d- -f1)
touch "$d/$topic"
wait_for ordered.a && wait_for ordered.b
{APPEND}
"""
    handler = Handler(tmp_path / "h", script)
    async with subscribed(url, "ordered.*") as (name, subscription):
        options = ("--concurrency", "2", "--max-events", "3", CAUGHT_UP)
        async with command(url, "run", name, *options, "--", handler.path) as run:
            assert await run.ended() == (0, "", "")
        await until(subscription, 20, 0, 0, 0)
    for topic in topics:
        assert [each for each in handler.told() if each.startswith(topic)] == ids[topic]


async def test_as_many_commands_run_at_once_as_it_is_told(url: str, tmp_path: Path) -> None:
    await publish(url, "at-once", *map(str, range(20)))
    script = 'echo x >> "$d/begun"; wait_for go'
    handler = Handler(tmp_path / "h", script)
    async with subscribed(url, "at-once", order="none") as (name, subscription):
        options = ("--concurrency", "4", "--max-events", "1", CAUGHT_UP)
        async with command(url, "run", name, *options, "--", handler.path) as run:
            await handler.until_told("begun", 4)
            # No more is held than can be begun soon.
            assert (await subscription.look())["leased"] <= 8
            assert handler.told("begun") == ["x"] * 4
            handler.tell("go")
            assert await run.ended() == (0, "", "")
        await until(subscription, 20, 0, 0, 0)
