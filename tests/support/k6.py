"""Running the k6 script that the package ships, and standing between it and an aggregator."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

SCRIPT = Path(__file__).parents[2] / "k6" / "publish.js"
CROSSED = 99
"""How k6 ends when a threshold was not met."""
FAILED = 107
"""How k6 ends after an exception of the script."""

_VARIABLES = {
    "URL",
    "EVENTS",
    "DUPLICATES",
    "BATCH",
    "VUS",
    "TOPICS",
    "RUN",
    "DEADLINE_S",
    "P95_MS",
}
_LIMIT_S = 100.0

Forward = Callable[[], Awaitable[Any]]
"""Sends the request on to the aggregator, and gives the content of its answer."""

Behaviour = Callable[[web.Request, Forward], Awaitable[web.StreamResponse]]
"""What stands in between makes of a request."""


@dataclass(frozen=True)
class Ended:
    """How k6 ended, what it wrote, its metrics by name, and how often each check failed."""

    code: int
    output: str
    metrics: dict[str, dict[str, float]]
    failed: dict[str, int]

    def count(self, name: str) -> float:
        """The value of a counter, 0 where nothing was counted."""
        return self.metrics.get(name, {"count": 0})["count"]


class RunK6(Protocol):
    """Runs the script to its end: `await run_k6(url, EVENTS=500)`."""

    async def __call__(self, url: str, **variables: object) -> Ended: ...


async def run_script(
    program: str, directory: Path, url: str, variables: dict[str, object]
) -> Ended:
    """Run the script to its end; however this ends, no k6 is left.

    program: the path of k6. variables: of the script's own.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    # No test asserts a time on a machine that others use too.
    chosen = {"URL": url, "P95_MS": 86_400_000} | variables
    summary = directory / "summary.json"
    summary.unlink(missing_ok=True)
    k6 = await asyncio.create_subprocess_exec(
        *(program, "run", "--quiet", "--no-color", "--no-usage-report", "--address="),
        *(f"--summary-export={summary}", str(SCRIPT)),
        env=inherited | {name: str(value) for name, value in chosen.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            output, _ = await k6.communicate()
            code = await k6.wait()
    finally:
        if k6.returncode is None:
            k6.kill()
            await k6.wait()
    told = json.loads(summary.read_bytes()) if summary.exists() else {"metrics": {}}
    failed = {check["name"]: check["fails"] for check in _checks(told.get("root_group", {}))}
    return Ended(
        code, output.decode(), told["metrics"], {name: n for name, n in failed.items() if n}
    )


def _checks(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from group.get("checks", {}).values()
    for inner in group.get("groups", {}).values():
        yield from _checks(inner)


@asynccontextmanager
async def in_between(target: str, behave: Behaviour) -> AsyncIterator[str]:
    """Serve what `behave` makes of each request to the aggregator at `target`; gives the URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()

        async def forward() -> Any:
            url = f"{target}{request.path}"
            headers = {"Content-Type": request.content_type} if body else {}
            sending = client.request(request.method, url, data=body or None, headers=headers)
            async with sending as response:
                assert response.status == 200, await response.text()
                return await response.json()

        return await behave(request, forward)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", answer)
    async with aiohttp.ClientSession() as client, TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
