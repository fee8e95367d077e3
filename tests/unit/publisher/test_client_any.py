"""Any events through any failures: each is answered for once, and truly."""

import asyncio
from collections import Counter

from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted import (
    Answer,
    Scripted,
    answers,
    busy,
    cuts_the_answer,
    cuts_the_connection,
    encoded,
    serving,
    stores_and_cuts,
    takes,
)

from publisher import (
    EventRejected,
    Limits,
    NotSent,
    Publisher,
    PublishGaveUp,
    PublishRefused,
    RetryPolicy,
    Verdict,
)

POLICY = RetryPolicy(first_wait_s=0.001, max_wait_s=0.002, deadline_s=60.0)


async def too_many(server: Scripted, request: web.Request) -> web.StreamResponse:
    """Answer 413, unless it is a single event: one that was taken once is not too large."""
    if b"\n" in await request.read():
        return web.Response(status=413)
    return await takes(server, request)


PASSES: list[Answer] = [
    takes,
    takes,
    busy("0"),
    answers(502, "<html>"),
    answers(429, ""),
    too_many,
    cuts_the_connection,
    stores_and_cuts,
    cuts_the_answer,
]
FAILS: list[Answer] = [answers(422, {"detail": "no"}), answers(200, "{}"), busy("1000000")]

LIMITS = st.builds(
    Limits,
    max_batch_events=st.integers(1, 5),
    max_batch_bytes=st.sampled_from([1, 150, 100_000]),
    linger_ms=st.sampled_from([0.0, 0.5]),
    max_pending_events=st.integers(1, 10),
)


@settings(max_examples=60)
@given(
    script=st.lists(st.sampled_from(PASSES + FAILS), max_size=12),
    limits=LIMITS,
    requests=st.integers(1, 3),
    ordered=st.booleans(),
    bad=st.sets(st.integers(0, 29), max_size=3),
    impatient=st.sets(st.integers(0, 29), max_size=5),
)
def test_every_event_gets_one_true_outcome(
    script: list[Answer],
    limits: Limits,
    requests: int,
    ordered: bool,
    bad: set[int],
    impatient: set[int],
) -> None:
    asyncio.run(_check(script, limits, requests, ordered, bad, impatient))


async def _check(
    script: list[Answer],
    limits: Limits,
    requests: int,
    ordered: bool,
    bad: set[int],
    impatient: set[int],
) -> None:
    names = [f"bad-{n}" if n in bad else f"e-{n}" for n in range(30)]
    async with serving(*script) as server:
        async with Publisher(
            server.url,
            limits=limits,
            policy=POLICY,
            max_requests_in_flight=requests,
            ordered=ordered,
            on_retry=lambda _: None,
        ) as publisher:
            submitting = [
                asyncio.create_task(publisher.submit_encoded(encoded(name))) for name in names
            ]
            await asyncio.sleep(0)
            # Some leave while they wait for room, others have been accepted by now.
            for number in impatient:
                submitting[number].cancel()
            given_back = await asyncio.gather(*submitting, return_exceptions=True)
        batches = server.batches
    told: Counter[type[object]] = Counter()
    for number, (name, got) in enumerate(zip(names, given_back, strict=True)):
        if isinstance(got, BaseException):
            # Not accepted: cancelled, or the publisher had stopped.
            assert isinstance(got, asyncio.CancelledError if number in impatient else NotSent)
            assert ordered or number in impatient
            continue
        assert got.done()
        outcome = got.exception() or got.result()
        told[type(outcome)] += 1
        match outcome:
            case Verdict(event_id=event_id, offset=offset):
                assert event_id == name
                assert server.log[name] == offset
            case EventRejected():
                assert name not in server.log
            case PublishRefused() | PublishGaveUp():
                assert outcome.may_be_stored or name not in server.log
            case NotSent():
                assert ordered
                assert name not in server.log
            case _:
                raise AssertionError(repr(outcome))
    assert set(told) <= {Verdict, EventRejected, PublishRefused, PublishGaveUp, NotSent}
    for batch in batches:
        assert len(batch) <= limits.max_batch_events
    if ordered:
        assert list(server.log) == [name for name in names if name in server.log]
