"""Waiting from a shell, as docs/use/http.md shows it, and through the documented proxies."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.events import published
from support.load import session, until_answer
from support.processes import Aggregator
from support.programs import program
from support.proxies import proxied

Run = Callable[..., Aggregator]
PAGE = Path(__file__).parents[2] / "docs" / "use" / "http.md"
LIMIT_S = 30.0

JQ = f"""#!{sys.executable}
import json, sys
import jq
(text,) = [each for each in sys.argv[1:] if each != "-c"]
for value in jq.compile(text).input_text(sys.stdin.read()):
    print(json.dumps(value), flush=True)
"""
"""In place of jq's own program, from its library."""


def documented(url: str) -> str:
    """The loop of the page, for an aggregator of the test's own."""
    (block,) = re.findall(r"```sh\n(after=0\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert isinstance(block, str)
    return block.replace("http://127.0.0.1:8080", url)


async def publish(url: str, *event_ids: str) -> None:
    async with session() as client:
        events = [published(event_id=event_id) for event_id in event_ids]
        async with client.post(f"{url}/publish", json=events) as response:
            assert response.status == 200


async def test_the_documented_loop_prints_every_event_as_it_comes(
    run_aggregator: Run, tmp_path: Path
) -> None:
    (tmp_path / "jq").write_text(JQ)
    (tmp_path / "jq").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(program("curl").parent), os.environ["PATH"]])
    url = run_aggregator().url
    shell = await asyncio.create_subprocess_exec(
        "sh", "-euc", documented(url),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PATH": path},
        start_new_session=True,
    )  # fmt: skip
    try:
        assert shell.stdout is not None
        async with session() as client, asyncio.timeout(LIMIT_S):
            for event_ids in (["e-1"], ["e-2", "e-3"], ["e-4"]):
                await until_answer(client, f"{url}/metrics", 200, "aggregator_waits 1.0")
                await publish(url, *event_ids)
                lines = [await shell.stdout.readline() for _ in event_ids]
                assert [json.loads(line)["event_id"] for line in lines] == event_ids
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        await shell.communicate()


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_a_wait_goes_through_a_proxy_and_so_does_the_end_of_its_client(
    kind: str, run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator()
    with proxied(kind, aggregator.url, tmp_path) as url:
        target = f"{url}/events?topic=orders&after=0"
        command = [str(program("curl")), "-sS", "-i", "-H", "Prefer: wait=60", target]
        async with session() as client, asyncio.timeout(LIMIT_S):
            metrics = f"{aggregator.url}/metrics"
            for answered in (False, True):
                waiting = await asyncio.create_subprocess_exec(
                    *command, stdout=asyncio.subprocess.PIPE
                )
                await until_answer(client, metrics, 200, "aggregator_waits 1.0")
                if answered:
                    await publish(url, "e-1")
                else:
                    waiting.kill()
                out, _ = await waiting.communicate()
                await until_answer(client, metrics, 200, "aggregator_waits 0.0")
    assert b"e-1" in out
    assert b"preference-applied: wait=60" in out.lower()
