"""The Python of the recipes page runs as it stands there, and notices an answer that is cut off."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.backends import Database
from support.events import event
from support.processes import Aggregator
from support.recipes import commands
from support.streams import listening

Run = Callable[..., Aggregator]

_URL = "http://127.0.0.1:8080"
_EVENTS = 3000
_LIMIT_S = 60


def recipe(url: str) -> str:
    """The code of the page, for another address."""
    (code,) = commands("All of a topic in Python", "python")
    assert _URL in code
    return code.replace(_URL, url)


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_recipe_gives_every_event_in_order(
    database: Database, run_aggregator: Run
) -> None:
    store = database.store()
    await store.open()
    await store.append([event("orders", f"e-{n}", f'{{"n": {n}}}') for n in range(_EVENTS)])
    await store.aclose()
    aggregator = run_aggregator(*database.arguments())
    done = await asyncio.to_thread(run, recipe(aggregator.url))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{n + 1} {{'n': {n}}}" for n in range(_EVENTS)]


async def test_the_recipe_fails_on_an_answer_that_was_cut_off() -> None:
    line = json.dumps({"offset": 1, "payload": {}}).encode() + b"\n"

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))

    async with listening(cut_off) as port:
        done = await asyncio.to_thread(run, recipe(f"http://127.0.0.1:{port}"))
    assert "IncompleteRead" in done.stderr
    assert done.stdout.splitlines() == ["1 {}"]
