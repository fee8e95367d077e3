"""What the k6 script tries again, when, and for how long."""

import json
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from aiohttp import web
from support.backends import Database
from support.k6 import CROSSED, Ended, Forward, RunK6, in_between
from support.processes import Aggregator

pytestmark = pytest.mark.k6

Run = Callable[..., Aggregator]


class Faults:
    """Answers the first tries of every publish with faults, each of another kind."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self._tries: dict[str, int] = {}
        self.moments: list[float] = []
        """When each try came, by the monotonic clock."""

    async def __call__(self, request: web.Request, forward: Forward) -> web.StreamResponse:
        if request.path != "/publish":
            return web.json_response(await forward())
        self.moments.append(time.monotonic())
        first: str = json.loads(await request.read())[0]["event_id"]
        number = self._tries[first] = self._tries.get(first, -1) + 1
        if number >= len(self._kinds):
            return web.json_response(await forward())
        return await self._fault(self._kinds[number], request, forward)

    async def _fault(self, kind: str, request: web.Request, forward: Forward) -> web.StreamResponse:
        assert request.transport is not None
        if kind == "hang up":
            request.transport.close()
            return web.Response()
        if kind == "lose the answer":
            await forward()
            request.transport.close()
            return web.Response()
        if kind in {"cut the answer", "cut a chunk"}:
            text = json.dumps(await forward()).encode()
            response = web.StreamResponse()
            response.content_type = "application/json"
            if kind == "cut the answer":
                response.content_length = len(text)
            await response.prepare(request)
            await response.write(text[:20])
            request.transport.close()
            return response
        status, _, retry_after = kind.partition(" ")
        if retry_after == "a date":
            retry_after = formatdate(time.time() + 3, usegmt=True)
        headers = {"Retry-After": retry_after} if retry_after else {}
        return web.json_response({"title": "no"}, status=int(status), headers=headers)


async def run_between(
    run_aggregator: Run, database: Database, run_k6: RunK6, faults: Faults, **variables: object
) -> Ended:
    async with in_between(run_aggregator(*database.arguments()).url, faults) as url:
        return await run_k6(url, **{"EVENTS": 200, "BATCH": 50} | variables)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    "kinds",
    [
        ["hang up", "lose the answer", "cut the answer", "cut a chunk"],
        ["429", "502", "503", "504"],
    ],
)
async def test_what_may_pass_is_tried_again_until_it_has(
    run_aggregator: Run, database: Database, run_k6: RunK6, kinds: list[str]
) -> None:
    faults = Faults(*kinds)
    ended = await run_between(run_aggregator, database, run_k6, faults)
    assert ended.code == 0, ended.output
    assert ended.count("publish_retries") == 4 * len(kinds)
    assert len(faults.moments) == 4 * (len(kinds) + 1)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("retry_after", ["2", "a date"])
async def test_a_retry_does_not_come_before_it_is_asked_for(
    run_aggregator: Run, database: Database, run_k6: RunK6, retry_after: str
) -> None:
    faults = Faults(f"503 {retry_after}")
    ended = await run_between(run_aggregator, database, run_k6, faults, EVENTS=50)
    assert ended.code == 0, ended.output
    first, second = faults.moments
    # A date has whole seconds.
    assert second - first >= 1.9


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("status", ["400", "404", "413", "422", "500"])
async def test_what_will_not_pass_is_not_tried_again(
    run_aggregator: Run, database: Database, run_k6: RunK6, status: str
) -> None:
    faults = Faults(*[status] * 9)
    ended = await run_between(run_aggregator, database, run_k6, faults)
    assert ended.code == CROSSED, ended.output
    assert ended.count("publish_retries") == 0
    assert len(faults.moments) == 4


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_what_does_not_pass_before_the_deadline_is_given_up(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    faults = Faults(*["503"] * 10_000)
    ended = await run_between(run_aggregator, database, run_k6, faults, DEADLINE_S=1)
    assert ended.code == CROSSED, ended.output
    assert ended.count("publishes_given_up") == 4
    assert ended.count("events_published") == 0
