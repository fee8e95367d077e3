"""What docs/use/client.md shows runs, and what it says of defaults is so."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from support.http import Client
from support.scripted import answers, serving
from support.talking import read_all

import publisher
from publisher import Limits, PublishError, RetryPolicy

ROOT = Path(__file__).parents[3]
PAGES = [
    (ROOT / "docs" / "use" / name).read_text(encoding="utf-8") for name in ("client.md", "ids.md")
]
PAGE = (ROOT / "docs" / "use" / "client.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
URL = "http://127.0.0.1:8080"


class Shown:
    """A block of the page, run with another URL; what it prints goes to `lines`."""

    def __init__(self, block: str, url: str) -> None:
        self.lines: list[str] = []
        # The application under test writes its log to standard output as well.
        self.names: dict[str, Any] = {"__name__": "page", "print": self._print}
        exec(compile(block.replace(URL, url), "client.md", "exec"), self.names)

    def _print(self, *values: object) -> None:
        self.lines.append(" ".join(map(str, values)))


async def test_the_first_lines(client: Client) -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 10
    shown = Shown(BLOCKS[0], str(client.make_url("")))
    await shown.names["main"]()
    assert shown.lines == ["stored 1"]
    (event,) = await read_all(client, topic="orders", after=0)
    assert (event["payload"], event["source"]) == ({"total": 42.1}, "shop")


async def test_the_plain_function(client: Client) -> None:
    for status in ("stored", "duplicate"):
        shown = await asyncio.to_thread(Shown, BLOCKS[1], str(client.make_url("")))
        assert len(shown.lines) == 3
        assert all(f"'{status}'" in line for line in shown.lines)
    log = await read_all(client, topic="visits", after=0)
    assert [event["event_id"] for event in log] == ["visit-0", "visit-1", "visit-2"]


async def test_many_events(client: Client) -> None:
    url = str(client.make_url(""))
    shown = Shown(BLOCKS[2], url)
    assert await shown.names["send"](url, [1, 1e300, 3]) == 0
    assert shown.lines == []
    log = await read_all(client, topic="orders", after=0)
    assert [event["payload"]["total"] for event in log] == [1, 1e300, 3]


async def test_many_events_that_fail() -> None:
    async with serving(answers(403, "")) as server:
        shown = Shown(BLOCKS[2], server.url)
        assert await shown.names["send"](server.url, [1, 2]) == 2
    named = f"(request id {server.headers[0]['X-Request-ID']})"
    assert shown.lines == [f"the answer is 403: Forbidden {named}"] * 2


def test_there_are_no_other_blocks() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("settings", [Limits(), RetryPolicy()], ids=["limits", "policy"])
def test_the_defaults_are_those_of_the_page(settings: Limits | RetryPolicy) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,.]+) ", PAGE, re.MULTILINE))
    for name in type(settings).__dataclass_fields__:
        assert float(rows[name].replace(",", "")) == getattr(settings, name)


def test_every_error_has_its_row() -> None:
    errors = {
        name
        for name in publisher.__all__
        if isinstance(kind := getattr(publisher, name), type) and issubclass(kind, PublishError)
    }
    rows = set(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE))
    assert rows == errors - {"PublishError"}


def test_every_name_that_the_pages_import_is_public() -> None:
    imports = re.findall(r"^from publisher(\S*) import (.+)$", "\n".join(PAGES), re.MULTILINE)
    assert {module for module, _ in imports} == {""}
    imported = {name for _, names in imports for name in names.split(", ")}
    assert imported >= {"Event", "Publisher", "TimeNodeIds", "uuid7"}
    assert imported <= set(publisher.__all__)


def test_every_public_name_is_on_the_pages() -> None:
    text = "\n".join(PAGES)
    assert [name for name in publisher.__all__ if not re.search(rf"\b{name}\b", text)] == []
    assert [name for name in publisher.__all__ if not hasattr(publisher, name)] == []


def test_every_row_of_the_retries_names_a_test_that_exists() -> None:
    table = PAGE[PAGE.index("| what happens |") : PAGE.index("A retry is no error")]
    files = (ROOT / "tests/unit/publisher").glob("test_retry*.py")
    tests = "".join(file.read_text() for file in files)
    rows = table.strip().splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        proof = row.rsplit("|", 2)[1]
        assert "test_" in proof or "the same" in proof
        for name in re.findall(r"`(test_\w+)`", proof):
            assert f"def {name}(" in tests
