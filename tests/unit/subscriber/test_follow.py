"""Following against scripted streams: where it begins, what it gives, and its position."""

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.scripted_streams import Script, ScriptedStreams, block, caught_up, event, gap, gives

from subscriber import Event, Following, GapError, ReconnectPolicy, follow

SOON = ReconnectPolicy(first_wait_s=0.001, max_wait_s=0.001)


async def taken(following: Following, count: int) -> list[int]:
    """The offsets of the next events."""
    return [(await anext(following)).offset for _ in range(count)]


async def test_event_has_the_fields_of_a_page() -> None:
    async with (
        ScriptedStreams.serving(gives(event(7, payload={"total": 42.5}))) as server,
        follow(server.url, "orders") as events,
    ):
        got = await anext(events)
    assert got == Event(
        "orders",
        "orders-7",
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        "shop",
        {"total": 42.5},
        7,
        datetime(2026, 1, 31, 12, 0, 1, 500_000, tzinfo=UTC),
        b"",
    )
    assert got.json.startswith(b'{"topic": "orders", "event_id": "orders-7"')
    with pytest.raises(AttributeError):
        got.offset = 8  # type: ignore[misc]


async def test_payload_of_any_json_is_handed_out() -> None:
    digits = "9" * 5000
    raw = event(1, payload="P").replace('"P"', f'{{"n": {digits}, "s": "\\ud800", "f": 1e999}}')
    async with (
        ScriptedStreams.serving(gives(raw)) as server,
        follow(server.url, "orders") as events,
    ):
        got = await anext(events)
    assert got.payload == {"n": Decimal(digits), "s": "\ud800", "f": math.inf}
    assert digits.encode() in got.json


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({}, []),
        ({"after": 0}, [("after", "0")]),
        ({"start": "start"}, [("from", "start")]),
        ({"start": "now"}, [("from", "now")]),
        ({"last": 10}, [("last", "10")]),
        ({"since": "1h"}, [("since", "1h")]),
        (
            {"since": datetime(2026, 1, 31, 12, tzinfo=UTC)},
            [("since", "2026-01-31T12:00:00+00:00")],
        ),
    ],
    ids=str,
)
async def test_stream_is_asked_for_from_where_it_is_to_begin(
    arguments: dict[str, Any], parameter: list[tuple[str, str]]
) -> None:
    async with (
        ScriptedStreams.serving(gives(event(1), then="is silent")) as server,
        follow(server.url, "orders", source="sho p&", **arguments) as events,
    ):
        await anext(events)
    (request,) = server.requests
    assert request.query == [("topic", "orders"), ("source", "sho p&"), *parameter]
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["accept-encoding"] == "identity"
    assert "subscriber/" in request.headers["user-agent"]
    assert request.last_event_id is None


async def test_position_wins_over_where_it_is_to_begin_and_topics_are_all_asked_for() -> None:
    async with (
        ScriptedStreams.serving(gives(event(5, id="@a.b:5"), then="is silent")) as server,
        follow(server.url, "a.*", "b.**", "c", position="@a.b:4", start="start") as events,
    ):
        await anext(events)
    (request,) = server.requests
    assert request.query == [("topic", "a.*"), ("topic", "b.**"), ("topic", "c")]
    assert request.last_event_id == "@a.b:4"


async def test_position_is_that_of_the_event_handed_out_last_and_moves_without_one() -> None:
    script = gives(
        block("position", "@a:3", "@a:3"),
        event(4, "a", id="@a:4"),
        event(5, "a", id="@a:5"),
        "id: @a:9\n\n",
        block("of a later version", {}, "@a:10"),
        event(11, "a", id="@a:11"),
    )
    async with (
        ScriptedStreams.serving(script) as server,
        follow(server.url, "*", source="shop") as events,
    ):
        positions = [events.position]
        for _ in range(3):
            await anext(events)
            positions.append(events.position)
        # What comes without an event has moved it once the next event is waited for.
    assert positions == [None, "@a:4", "@a:5", "@a:11"]


async def test_position_told_without_an_event_is_resumed_from() -> None:
    first = gives("retry: 1\n", block("position", "@a:3", "@a:3"), then="is cut off")
    second = gives(event(4, "a", id="@a:4"), then="is silent")
    async with (
        ScriptedStreams.serving(first, second) as server,
        follow(server.url, "*", policy=SOON) as events,
    ):
        assert await taken(events, 1) == [4]
    assert [request.last_event_id for request in server.requests] == [None, "@a:3"]


async def test_block_that_is_cut_off_comes_again_and_whole() -> None:
    whole = event(2)

    async def cut(answer: Any) -> None:
        await answer.begin()
        await answer.send(event(1), whole[:-1])
        await answer.end()

    async with (
        ScriptedStreams.serving(cut, gives(whole, event(3), then="is silent")) as server,
        follow(server.url, "orders", after=0, policy=SOON) as events,
    ):
        assert await taken(events, 3) == [1, 2, 3]
    assert server.requests[1].last_event_id == "1"


async def test_cancelled_call_loses_nothing() -> None:
    going = asyncio.Event()

    async def script(answer: Any) -> None:
        await answer.begin()
        await answer.send(event(1), event(2)[:30])
        await going.wait()
        await answer.send(event(2)[30:])

    async with (
        ScriptedStreams.serving(script) as server,
        follow(server.url, "orders", after=0, policy=SOON) as events,
    ):
        assert await taken(events, 1) == [1]
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.wait({waiting}, timeout=0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        going.set()
        assert await taken(events, 1) == [2]
        assert len(server.requests) == 1


async def test_wait_before_reconnecting_goes_on_after_a_cancelled_call() -> None:
    waits: list[object] = []
    policy = ReconnectPolicy(first_wait_s=60)
    async with (
        ScriptedStreams.serving(gives(event(1), then="is cut off")) as server,
        follow(server.url, "orders", policy=policy, on_wait=waits.append) as events,
    ):
        await anext(events)
        for _ in range(5):
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.wait({waiting}, timeout=0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert len(waits) == len(server.requests) == 1


async def test_leaving_the_context_closes_the_connection_and_ends_the_iteration() -> None:
    closed = asyncio.Event()

    async def script(answer: Any) -> None:
        await answer.begin()
        await answer.send(event(1))
        try:
            while True:
                await answer.send(":\n")
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async with ScriptedStreams.serving(script) as server:
        async with follow(server.url, "orders") as events:
            async for _ in events:
                break
        await asyncio.wait_for(closed.wait(), 10)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_iteration_ends_when_it_has_caught_up_if_it_is_to() -> None:
    heads: list[Mapping[str, int]] = []
    script = gives(event(1), event(2), caught_up(2, orders=2), event(3), then="is silent")
    async with (
        ScriptedStreams.serving(script) as server,
        follow(
            server.url, "orders", start="start", until_caught_up=True, on_caught_up=heads.append
        ) as events,
    ):
        assert [got.offset async for got in events] == [1, 2]
        assert heads == [{"orders": 2}]
        assert events.position == "2"
        with pytest.raises(StopAsyncIteration):
            await anext(events)


def gap_script() -> Script:
    return gives("retry: 1000\n", gap(1, 20, 30), event(21), then="is silent")


async def test_gap_is_an_error_and_the_position_stays_before_it() -> None:
    async with (
        ScriptedStreams.serving(gap_script(), gap_script()) as server,
        follow(server.url, "orders", position="0") as events,
    ):
        for _ in range(2):
            with pytest.raises(GapError) as raised:
                await anext(events)
            assert str(raised.value) == (
                "the offsets 1 to 20 of 'orders' are missing: the log no longer holds them"
            )
            assert (raised.value.expected, raised.value.got) == (1, 21)
            assert events.position == "0"
    assert [request.last_event_id for request in server.requests] == ["0", "0"]


async def test_gap_that_is_told_of_is_passed() -> None:
    gaps: list[object] = []
    async with (
        ScriptedStreams.serving(gap_script()) as server,
        follow(server.url, "orders", after=0, on_gap=gaps.append) as events,
    ):
        assert await taken(events, 1) == [21]
    assert len(gaps) == 1


async def test_position_above_the_head_goes_on_at_the_head() -> None:
    script = gives(
        gap(13, 20, 12, "head_is_lower"), caught_up(12, orders=12), event(13), then="is silent"
    )
    gaps: list[object] = []
    async with ScriptedStreams.serving(script, script) as server:
        async with follow(server.url, "orders", after=20, on_gap=gaps.append) as events:
            assert await taken(events, 1) == [13]
        assert str(gaps[0]) == (
            "the offsets 13 to 20 of 'orders' are missing: "
            "the position is above the topic's head, 12: is this another log?"
        )
        async with follow(server.url, "orders", after=20) as events:
            with pytest.raises(GapError) as raised:
                await anext(events)
    assert (raised.value.expected, raised.value.got) == (21, 13)


async def test_error_of_a_callback_is_raised_and_what_it_was_told_of_comes_again() -> None:
    def refuse(_: object) -> None:
        raise KeyError("not wanted")

    async with (
        ScriptedStreams.serving(gap_script(), gap_script()) as server,
        follow(server.url, "orders", after=0, on_gap=refuse) as events,
    ):
        for _ in range(2):
            with pytest.raises(KeyError):
                await anext(events)
