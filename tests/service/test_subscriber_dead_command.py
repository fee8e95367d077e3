"""`python -m subscriber dead`: dead letters that are listed, retried, dropped."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from support.command import on_terminal
from support.subscriber_commands import (
    COMMANDS,
    PROGRAM,
    ROOT,
    Call,
    caller,
    publish,
    serving,
    subscribed,
    until,
)

from subscriber.calls.http import HttpCalls
from subscriber.calls.requests import Death, Settle

LETTERS = 101
"""One more than there are in a page."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has topics and subscriptions of its own."""
    with serving(tmp_path_factory) as url:
        yield url


@pytest.fixture
def call(url: str, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls commands."""
    return caller(url, capfd)


def subscription(url: str, topic: str, letters: int, error: str, payload: bytes) -> str:
    """The name of a subscription all of whose events are dead."""

    async def make() -> str:
        ids = map(str, range(letters))
        await publish(url, topic, *ids, payload=payload)
        async with subscribed(url, topic, stop_after_dead=None) as (name, made):
            calls = HttpCalls(url)
            leased = await calls.lease(name, "w", letters, 0, None)
            dead = [Death(topic, each.offset, error) for each in leased.deliveries]
            await calls.settle(name, Settle(leased.lease or "", dead=dead))
            await calls.aclose()
            await until(made, 0, letters, 0, 0)
        return name

    return asyncio.run(make())


def test_all_pages_are_listed_byte_for_byte(url: str, call: Call) -> None:
    # Of valid JSON, what is read least easily.
    raw = f'{{"n": 1.50, "half": "\\ud800", "long": {"7" * 5000}, "s": "]}},["}}'
    name = subscription(url, "listed", LETTERS, "no", raw.encode())
    status, out, err = call(f"dead {name}")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == LETTERS
    for number, line in enumerate(lines, start=1):
        assert line.startswith(f'{{"topic":"listed","offset":{number},"deliveries":1,')
        assert raw in line


def test_some_are_retried_or_dropped_then_all_the_others_retried(url: str, call: Call) -> None:
    name = subscription(url, "settled", LETTERS, "no", b"{}")
    twice = f"dead {name} --retry settled/1 settled/2 --retry settled/2"
    assert call(twice) == (0, "2 dead letters will be delivered again\n", "")
    begin = f"{PROGRAM} dead: "
    status, out, err = call(f"{twice} settled/3 none/1")
    assert (status, out) == (1, "1 dead letter will be delivered again\n")
    assert err == f"{begin}3 of the 4 events are no dead letter\n"
    status, out, err = call(f"dead {name} --drop settled/4 settled/1 settled/5")
    assert (status, out) == (1, "2 dead letters are acknowledged\n")
    assert err == f"{begin}offset 1 of the topic 'settled' is no dead letter\n"
    assert len(call(f"dead {name}").objects) == LETTERS - 5
    retried = f"{LETTERS - 5} dead letters will be delivered again\n"
    assert call(f"dead {name} --retry-all") == (0, retried, "")
    assert call(f"dead {name} --retry-all").out == "0 dead letters will be delivered again\n"
    nothing = f"{begin}the subscription {name!r} has no dead letters\n"
    assert call(f"dead {name}") == (0, "", nothing)
    (shown,) = call(f"subscriptions {name}").objects
    assert [shown[each] for each in ("acknowledged", "dead", "leased", "waiting")] == [2, 0, 0, 99]


def test_many_are_retried_by_several_requests(url: str, call: Call) -> None:
    name = subscription(url, "many", 1001, "no", b"{}")
    places = " ".join(f"many/{number}" for number in range(1, 1002))
    retried = call(f"dead {name} --retry {places}")
    assert retried == (0, "1,001 dead letters will be delivered again\n", "")


def test_terminal_gets_lines_for_people_that_cannot_drive_it(url: str) -> None:
    error = f"exit status 3: \x1b[31mred\nline{'x' * 300} the end"
    name = subscription(url, "shown", 1, error, b'{"t": "\x7f"}')

    def on_screen(*options: str) -> str:
        arguments = ("dead", name, "--url", url, *options)
        with on_terminal(*arguments, cwd=ROOT, program=COMMANDS) as command:
            assert command.process.wait(30) == 0
            command.wait_for_text("\n")
            return command.text

    line = on_screen()
    assert " shown/1, 1 delivery: exit status 3: \\u001b[31mred line" in line
    assert line.endswith(f" … {'x' * 132} the end\n")
    assert line.rstrip("\n").isprintable()
    line = on_screen("--format", "json")
    assert json.loads(line)["last_error"] == error
    assert line.rstrip("\n").isprintable()
