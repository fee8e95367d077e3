"""The recipes of docs/use/recipes.md, run as they are shown, with and without a proxy."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.compressed import decompress_zstd
from support.events import published
from support.load import session
from support.processes import Aggregator
from support.programs import program
from support.proxies import proxied
from support.recipes import commands

Run = Callable[..., Aggregator]

EVENTS = 12_000


@pytest.fixture(params=["", "nginx", "haproxy"])
async def url(
    request: pytest.FixtureRequest, run_aggregator: Run, tmp_path: Path
) -> AsyncIterator[str]:
    """An aggregator with events, behind a proxy or without one."""
    direct = run_aggregator().url
    async with session() as client:
        for start in range(0, EVENTS, 2000):
            batch = [published(event_id=f"e-{start + n}") for n in range(2000)]
            async with client.post(f"{direct}/publish", json=batch) as response:
                assert response.status == 200
    if not request.param:
        yield direct
        return
    with proxied(request.param, direct, tmp_path) as behind:
        yield behind


@pytest.fixture
def run(url: str, tmp_path: Path) -> Callable[[str], str]:
    """Runs a recipe as a shell does, in a directory of its own; returns what it prints."""
    for name in ("curl", "jq"):
        program(name)
    directory = tmp_path / "downloads"
    directory.mkdir()

    def run(command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-euc", f"url={url}\n{command}"],
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    return run


def ids(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["event_id"].removeprefix("e-")) for event in events]


async def test_recipes(run: Callable[[str], str], tmp_path: Path) -> None:
    newest, newest_of_topic = commands("The newest ten")
    assert ids(json.loads(run(newest))) == [EVENTS - 1 - n for n in range(10)]
    last_lines = [json.loads(line) for line in run(newest_of_topic).splitlines()]
    assert ids(last_lines) == [EVENTS - 10 + n for n in range(10)]

    file = tmp_path / "downloads" / "orders.ndjson"
    plain, on_the_way, kept = commands("All of a topic into a file")
    run(plain)
    whole = file.read_bytes()
    assert ids([json.loads(line) for line in whole.splitlines()]) == list(range(EVENTS))
    file.unlink()
    run(on_the_way)
    assert file.read_bytes() == whole
    run(kept)
    packed = file.with_suffix(".ndjson.zst")
    assert packed.stat().st_size < len(whole) / 5
    assert decompress_zstd(packed.read_bytes()) == whole

    go_on, prove = commands("A download that was cut off, or is to be brought up to date")
    for left in (0, 1, len(whole) // 2, whole.index(b"\n", 10_000) + 1, len(whole)):
        file.write_bytes(whole[:left])
        run(go_on)
        assert file.read_bytes() == whole, left
        run(prove)
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[::2]))
    with pytest.raises(subprocess.CalledProcessError):
        run(prove)
