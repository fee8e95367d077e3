"""The proof that nothing is missing and nothing comes twice, over any number of streams."""

import copy
import pickle
from typing import Any

import pytest
from support.scripted_streams import Script, ScriptedStreams, block, caught_up, event, gap, gives

from subscriber import Gap, GapError, HoleError, ReconnectPolicy, follow

SOON = ReconnectPolicy(first_wait_s=0.001, max_wait_s=0.001)
A3, A4, A5 = (event(number, "a", id=f"@a:{number}") for number in (3, 4, 5))
B1, B2 = (event(number, "b", id=f"@a:5,b:{number}") for number in (1, 2))


async def offsets(
    *scripts: Script, topic: str = "orders", source: str | None = None, **begin: Any
) -> tuple[list[int], HoleError | None]:
    """The offsets that came, until the end of the scripts or a hole."""
    came: list[int] = []
    the_end = gives(event(1, "the end"))
    async with (
        ScriptedStreams.serving(*scripts, the_end) as server,
        follow(server.url, topic, source=source, policy=SOON, **begin) as events,
    ):
        try:
            async for got in events:
                if got.topic == "the end":
                    break
                came.append(got.offset)
        except HoleError as error:
            return came, error
    return came, None


@pytest.mark.parametrize(
    ("scripts", "came", "expected", "got"),
    [
        ([gives(event(3), event(5))], [3], 4, 5),
        ([gives(event(3), event(3))], [3], 4, 3),
        ([gives(event(3), event(4), event(2))], [3, 4], 5, 2),
        ([gives(event(3)), gives(event(5))], [3], 4, 5),
        ([gives(event(3)), gives(event(3))], [3], 4, 3),
        ([gives(event(3), caught_up(4, orders=4))], [3], 4, 5),
        ([gives(event(3), caught_up(2, orders=2))], [3], 4, 3),
        ([gives(caught_up(7, orders=7), event(9))], [], 8, 9),
        ([gives(block("position", "7", 7), event(9))], [], 8, 9),
    ],
    ids=[
        "hole", "again", "earlier", "hole over a cut", "again over a cut", "head above",
        "head below", "behind the head", "behind the position",
    ],
)  # fmt: skip
async def test_offset_that_is_not_the_next_is_an_error(
    scripts: list[Script], came: list[int], expected: int, got: int
) -> None:
    seen, error = await offsets(*scripts)
    assert seen == came
    assert error is not None
    assert (error.topic, error.expected, error.got) == ("orders", expected, got)


@pytest.mark.parametrize("begin", [{"after": 7}, {"position": "7"}], ids=str)
async def test_first_event_behind_a_known_offset_is_the_next(begin: dict[str, Any]) -> None:
    assert (await offsets(gives(event(8)), **begin))[0] == [8]
    _, error = await offsets(gives(event(9)), **begin)
    assert str(error) == "events are missing: offset 8 of 'orders' was to come, not 9"
    _, error = await offsets(gives(event(7)), **begin)
    assert str(error) == "an event came before: offset 8 of 'orders' was to come, not 7"


async def test_each_topic_of_a_pattern_has_its_own_offsets() -> None:
    seen, error = await offsets(gives(A3, A4), gives(A5, B1, B2), topic="*")
    assert (seen, error) == ([3, 4, 5, 1, 2], None)
    # What appears once the stream has caught up begins at 1.
    _, error = await offsets(gives(A3, caught_up("@a:3", a=3), B2), topic="*")
    assert error is not None
    assert (error.topic, error.expected, error.got) == ("b", 1, 2)
    _, error = await offsets(gives(A3, B1, A5), topic="*")
    assert error is not None
    assert (error.topic, error.expected, error.got) == ("a", 4, 5)


async def test_filter_may_leave_events_out_but_gives_none_twice() -> None:
    script = gives(event(3), event(9), caught_up(20, orders=20), event(30))
    assert await offsets(script, source="shop") == ([3, 9, 30], None)
    _, error = await offsets(gives(event(3)), gives(event(3)), source="shop")
    assert error is not None
    assert (error.expected, error.got) == (4, 3)


async def test_hole_behind_a_gap_is_noticed() -> None:
    gaps: list[Gap] = []
    script = gives(event(1, id="@orders:1"), gap(2, 20, 30), event(22, id="@orders:22"))
    seen, error = await offsets(script, topic="*", on_gap=gaps.append)
    assert seen == [1]
    assert error is not None
    assert (error.expected, error.got) == (21, 22)
    assert gaps == [Gap("orders", 2, 20, "expired", 30)]


async def test_position_stays_behind_the_last_event_at_a_hole() -> None:
    async with (
        ScriptedStreams.serving(gives(event(3), event(5)), gives(event(4))) as server,
        follow(server.url, "orders", policy=SOON) as events,
    ):
        await anext(events)
        with pytest.raises(HoleError):
            await anext(events)
        assert events.position == "3"
        # Another look may see what the first did not.
        assert (await anext(events)).offset == 4
    assert server.requests[1].last_event_id == "3"


def test_errors_can_be_copied_and_pickled() -> None:
    for error in HoleError("a", 1, 2), GapError(Gap("a", 1, 2, "expired", 9)):
        for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert (again.topic, again.expected, again.got) == (
                error.topic, error.expected, error.got,
            )  # fmt: skip
