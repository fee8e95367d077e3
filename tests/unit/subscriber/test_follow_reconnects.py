"""What following reconnects after, what it does not, and when it gives up."""

import asyncio
import logging
import math
import re
import socket
from typing import Any

import pytest
from support.scripted_streams import (
    Answer,
    Script,
    ScriptedStreams,
    block,
    cuts_the_connection,
    event,
    gives,
    refuses,
)

from subscriber import (
    FollowGaveUp,
    Following,
    ReconnectPolicy,
    Wait,
    follow,
)

SOON = ReconnectPolicy(first_wait_s=0.001, max_wait_s=0.001)


async def until_the_end(events: Following) -> None:
    async for _ in events:
        pass


FULL = {"title": "Service Unavailable", "detail": "above --max-streams"}


async def no_chunk_end(answer: Answer) -> None:
    await answer.begin()
    await answer.raw(b"ffff\r\n:")


async def half_a_head(answer: Answer) -> None:
    await answer.raw(b"HTTP/1.1 200 OK\r\nContent-")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (gives(), "the stream has ended"),
        (gives(then="is cut off"), "the stream was cut off"),
        (no_chunk_end, "the stream was cut off"),
        (refuses(503, FULL), "503 above --max-streams"),
        (refuses(502), "502 no"),
        (refuses(500), "500 no"),
        (refuses(429), "429 no"),
        (
            gives(block("unavailable", {"reason": "the store is away"})),
            "the aggregator cannot serve a stream now: the store is away",
        ),
        (
            gives(block("unavailable", "no JSON"), event(9)),
            "the aggregator cannot serve a stream now: no reason given",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_may_pass_is_waited_for(script: Script, reason: str) -> None:
    waits: list[Wait] = []
    opened: list[int] = []
    scripts = [gives(event(1)), script, script, gives(event(2)), gives(event(3), then="is silent")]
    async with (
        ScriptedStreams.serving(*scripts) as server,
        follow(
            server.url,
            "orders",
            after=0,
            policy=SOON,
            on_wait=waits.append,
            on_open=lambda: opened.append(len(waits)),
        ) as events,
    ):
        assert [(await anext(events)).offset for _ in range(3)] == [1, 2, 3]
    ended = "the stream has ended"
    assert [wait.reason for wait in waits] == [ended, reason, reason, ended]
    assert [wait.attempt for wait in waits] == [1, 2, 3, 1]
    assert opened == [0, 3, 4]
    assert [request.last_event_id for request in server.requests] == [None, "1", "1", "1", "2"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [(cuts_the_connection, "Server disconnected"), (half_a_head, "the server hung up")],
)
async def test_connection_that_is_cut_before_the_answer_is_waited_for(
    script: Script, reason: str
) -> None:
    waits: list[Wait] = []
    async with (
        # aiohttp sends a GET that got no answer once more by itself.
        ScriptedStreams.serving(script, script, gives(event(1), then="is silent")) as server,
        follow(server.url, "orders", policy=SOON, on_wait=waits.append) as events,
    ):
        assert (await anext(events)).offset == 1
    assert [wait.reason for wait in waits] == [f"the connection was lost: {reason}"]


async def test_server_that_is_not_there_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        policy = ReconnectPolicy(first_wait_s=0.001, give_up_after_s=0.05)
        with caplog.at_level(logging.WARNING, "subscriber"):
            async with follow(f"http://127.0.0.1:{port}", "orders", policy=policy) as events:
                with pytest.raises(FollowGaveUp) as gave_up:
                    await anext(events)
    refused = f"cannot connect to 127.0.0.1:{port}: Connection refused"
    (record,) = caplog.records
    assert record.getMessage() == f"{refused}; trying again until there is a stream"
    assert gave_up.value.attempts > 1
    assert re.fullmatch(
        rf"gave up after \d+ tries \(0.05 s without a stream\), the last failure: {refused}",
        str(gave_up.value),
    )


async def test_silent_server_is_left_and_one_with_heartbeats_is_not() -> None:
    beats = 0

    async def slow(answer: Answer) -> None:
        nonlocal beats
        await answer.begin()
        await answer.send(event(1))
        for beats in range(1, 6):  # noqa: B007 - counted for the test
            await asyncio.sleep(0.15)
            await answer.send(":\n")
        await answer.send(event(2))
        await asyncio.get_running_loop().create_future()

    waits: list[Wait] = []
    policy = ReconnectPolicy(first_wait_s=0.001, silence_s=0.6)
    async with (
        ScriptedStreams.serving(slow, gives(event(3), then="is silent")) as server,
        follow(server.url, "orders", policy=policy, on_wait=waits.append) as events,
    ):
        assert [(await anext(events)).offset for _ in range(3)] == [1, 2, 3]
    assert beats == 5
    assert [wait.reason for wait in waits] == ["nothing came for 0.6 s"]


async def test_server_that_never_answers_is_left() -> None:
    async def never(_: Answer) -> None:
        await asyncio.get_running_loop().create_future()

    policy = ReconnectPolicy(first_wait_s=0.001, silence_s=0.1)
    async with (
        ScriptedStreams.serving(never, gives(event(1), then="is silent")) as server,
        follow(server.url, "orders", policy=policy) as events,
    ):
        assert (await anext(events)).offset == 1


@pytest.mark.parametrize(
    ("scripts", "least_s"),
    [
        ([gives("retry: 2000\n", event(1)), gives()], 2.0),
        ([gives("retry: 2000\n", block("unavailable", {"reason": "full"}))], 2.0),
        ([refuses(503, headers={"Retry-After": "3"})], 3.0),
        ([gives("retry: 0\n", event(1))], 0.5),
        ([gives("retry: 86400000\n", event(1))], 300.0),
    ],
    ids=["retry", "unavailable", "Retry-After", "retry of 0", "retry of a day"],
)
async def test_wait_is_as_long_as_the_server_asks_for(
    scripts: list[Script], least_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Wait] = []

    def note(wait: Wait) -> None:
        waits.append(wait)
        raise RuntimeError("enough")

    async with (
        ScriptedStreams.serving(*scripts) as server,
        follow(
            server.url, "orders", policy=ReconnectPolicy(first_wait_s=0.5), on_wait=note
        ) as events,
    ):
        with pytest.raises(RuntimeError, match="enough"):
            await until_the_end(events)
    assert least_s <= waits[0].wait_s <= 1.5 * least_s


def test_waits_double_up_to_the_greatest_and_have_jitter() -> None:
    policy = ReconnectPolicy(first_wait_s=1.0, max_wait_s=8.0)
    for attempt, wait_s in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (10_000, 8.0)]:
        drawn = [policy.wait_s(attempt, 0.0) for _ in range(50)]
        assert wait_s <= min(drawn) < max(drawn) <= 1.5 * wait_s


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first_wait_s", -1),
        ("first_wait_s", math.inf),
        ("max_wait_s", math.nan),
        ("silence_s", 0),
        ("silence_s", math.inf),
        ("give_up_after_s", 0),
    ],
)
def test_policy_out_of_range_is_refused(name: str, value: float) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"^{name} must be .*, not {value!r}$"):
        ReconnectPolicy(**arguments)
