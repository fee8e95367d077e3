"""What docs/use/follow.md shows runs, and what it says of names and defaults is so."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from support.http import Client
from support.talking import publish

import subscriber
from subscriber import FollowError, ReconnectPolicy

PAGE = (Path(__file__).parents[3] / "docs" / "use" / "follow.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIMIT_S = 30.0


class Shown:
    """A block of the page, run; its names, and what it prints, as a queue."""

    def __init__(self, block: str) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.names: dict[str, Any] = {"__name__": "page", "print": self._print}
        exec(compile(block, "follow.md", "exec"), self.names)

    def _print(self, *values: object) -> None:
        self.lines.put_nowait(" ".join(map(str, values)))

    async def printed(self, count: int, name: str, *arguments: object) -> list[str]:
        """The first lines that a function of it prints; it is cancelled then."""
        running = asyncio.create_task(self.names[name](*arguments))
        try:
            async with asyncio.timeout(LIMIT_S):
                return [await self.lines.get() for _ in range(count)]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_the_first_lines(client: Client) -> None:
    url = str(client.make_url(""))
    await publish(client, [event("orders", "a")])
    shown = Shown(BLOCKS[0])
    assert await shown.printed(1, "main", url) == ["1 {'total': 42.1}"]


async def test_the_kept_place(client: Client, tmp_path: Path) -> None:
    url, place = str(client.make_url("")), tmp_path / "place"
    await publish(client, [event("orders.eu", "a"), event("orders.eu", "b")])
    shown = Shown(BLOCKS[1])
    assert await shown.printed(2, "work", url, place) == ["orders.eu 1", "orders.eu 2"]
    await publish(client, [event("orders.us", "a")])
    assert await shown.printed(1, "work", url, place) == ["orders.us 1"]


def event(topic: str, event_id: str) -> dict[str, object]:
    """An event with the payload of the page."""
    return {
        "topic": topic,
        "event_id": event_id,
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "shop",
        "payload": {"total": 42.1},
    }


def test_there_are_no_other_blocks() -> None:
    assert len(BLOCKS) == 2


def test_every_error_has_its_row() -> None:
    errors = {
        name
        for name in subscriber.__all__
        if isinstance(kind := getattr(subscriber, name), type) and issubclass(kind, FollowError)
    }
    rows = set(re.findall(r"^\| `(\w+Error|Follow\w+)` \|", PAGE, re.MULTILINE))
    assert rows == errors - {"FollowError"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("first_wait_s", "The first wait is {:g} s"),
        ("max_wait_s", "at most {:g} s, and half as long again"),
        ("silence_s", "no byte for {:g} s"),
    ],
)
def test_the_defaults_are_those_of_the_page(name: str, sentence: str) -> None:
    assert sentence.format(getattr(ReconnectPolicy(), name)) in PAGE
