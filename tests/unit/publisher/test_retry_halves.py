"""A batch that is too large is sent in halves, and each event is told what became of it."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from support.delivering import PATIENT, publish
from support.scripted import (
    Answer,
    Scripted,
    answers,
    busy,
    encoded,
    serving,
    takes,
)

from publisher.errors import EventRejected, PublishError, PublishGaveUp, PublishRefused
from publisher.response import Verdict
from publisher.retry import deliver


def at_most(events: int) -> Answer:
    """Answer 413 to more events than that."""

    async def answer(server: Scripted, request: web.Request) -> web.StreamResponse:
        server.script.append(answer)
        lines = (await request.read()).split(b"\n")
        if len(lines) > events or any(b"huge" in line for line in lines):
            return web.json_response({"detail": "too large"}, status=413)
        return web.json_response(server.store(b"\n".join(lines)))

    return answer


async def test_batch_answered_413_is_sent_in_halves_in_order() -> None:
    names = [f"e-{number}" for number in range(11)] + ["huge", "bad", "last"]
    async with serving(at_most(3)) as server:
        outcomes = await publish(server.url, batch=[encoded(name) for name in names])
    assert list(server.log) == [name for name in names if name.startswith(("e-", "last"))]
    for name, outcome in zip(names, outcomes, strict=True):
        if name in {"huge", "bad"}:
            assert isinstance(outcome, EventRejected)
            assert str(outcome) == {"huge": "too large", "bad": "it is bad"}[name]
        else:
            assert outcome == Verdict("orders", name, "stored", server.log[name])


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(busy("1000000"), PublishGaveUp), (answers(401, ""), PublishRefused)],
    ids=["given up", "refused"],
)
async def test_delivery_has_the_outcomes_of_a_half_before_a_failed_half(
    failure: Answer, kind: type[PublishError]
) -> None:
    batch = [encoded(name) for name in "abcdefgh"]
    # Eight are too large, four are taken, then it fails; what is left is not sent.
    script = [answers(413, ""), answers(413, ""), takes, takes, failure]
    async with serving(*script) as server, aiohttp.ClientSession() as session:
        outcomes, error = await deliver(
            session,
            server.url,
            batch,
            policy=PATIENT,
            on_retry=print,
            give_up_at=asyncio.get_running_loop().time() + 60,
        )
        assert [outcome for outcome in outcomes if isinstance(outcome, Verdict)] == outcomes
        assert list(server.log) == ["a", "b", "c", "d"]
        assert len(outcomes) == 4
        assert isinstance(error, kind)
        assert len(server.bodies) == 5


async def test_failure_behind_a_stored_half_may_be_stored() -> None:
    async with serving(answers(413, ""), takes, answers(401, "")) as server:
        with pytest.raises(PublishRefused) as refused:
            await publish(server.url)
    assert list(server.log) == ["a"]
    assert refused.value.may_be_stored
