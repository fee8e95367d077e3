"""Streams that are cut at any byte: each event is handed out once, in order."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from support.scripted_streams import Answer, Script, ScriptedStreams, block, caught_up, event

from subscriber import ReconnectPolicy, follow

EVENTS = 6
SOON = ReconnectPolicy(first_wait_s=0.0, max_wait_s=0.0)
CUTS = st.lists(st.tuples(st.integers(0, 1500), st.booleans(), st.integers(1, 200)), max_size=6)


def stream(last: int, until: int) -> str:
    """A stream as an aggregator resumes it behind an offset."""
    events = "".join(event(offset) for offset in range(last + 1, until + 1))
    return (
        f"retry: 0\n{block('position', str(last), last)}:\n{events}{caught_up(until, orders=until)}"
    )


async def followed(cuts: list[tuple[int, bool, int]]) -> list[int]:
    """What is handed out of streams that end after so many bytes, cleanly or not, in pieces."""

    def cut(size: int, *, is_clean: bool, piece: int) -> Script:
        async def script(answer: Answer) -> None:
            text = stream(int(server.requests[-1].last_event_id or 0), EVENTS)[:size]
            await answer.begin()
            for start in range(0, len(text), piece):
                await answer.send(text[start : start + piece])
            if is_clean:
                await answer.end()

        return script

    scripts = [cut(size, is_clean=clean, piece=piece) for size, clean, piece in cuts]
    last = cut(10**6, is_clean=True, piece=10**6)
    async with ScriptedStreams.serving(*scripts, last) as server:
        following = follow(
            server.url, "orders", after=0, policy=SOON, on_wait=lambda _: None, until_caught_up=True
        )
        async with following as events:
            return [got.offset async for got in events]


@given(CUTS)
def test_each_event_is_handed_out_once_and_in_order(cuts: list[tuple[int, bool, int]]) -> None:
    assert asyncio.run(followed(cuts)) == list(range(1, EVENTS + 1))
