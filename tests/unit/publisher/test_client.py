"""A publisher puts events together, bounds what waits, and tells each its own verdict."""

import asyncio
from typing import Any

import pytest
import uvloop
from support.http import Client
from support.scripted import (
    Answer,
    Gate,
    Scripted,
    answers,
    busy,
    encoded,
    serving,
    stores_and_cuts,
    takes,
)
from support.talking import get_json, read_all

from publisher import (
    Event,
    EventRejected,
    Limits,
    Publisher,
    PublishGaveUp,
    PublishRefused,
    RetryPolicy,
    Verdict,
)
from publisher import (
    client as client_module,
)
from publisher.events import EncodedEvent
from publisher.retry import Delivery, Retry

QUICK = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)
PATIENT_LINGER = Limits(linger_ms=3_600_000)
"""Nothing leaves because of the time."""


def named(event_id: str, **payload: object) -> Event:
    return Event("orders", payload, source="shop", event_id=event_id)


def stored(event_id: str, offset: int) -> Verdict:
    return Verdict("orders", event_id, "stored", offset)


async def submit_all(publisher: Publisher, *names: str) -> list[asyncio.Future[Verdict]]:
    return [await publisher.submit_encoded(encoded(name)) for name in names]


async def test_each_event_gets_its_own_verdict_from_the_aggregator(client: Client) -> None:
    url = str(client.make_url(""))
    async with Publisher(url) as publisher:
        assert await publisher.publish(named("a", n=1)) == stored("a", 1)
        rest = [
            await publisher.submit(event)
            for event in (
                named("b"),
                named("a", n=1.0),
                named("a", n=2),
                Event("no topic", {}, source="shop"),
                named("c"),
            )
        ]
        await publisher.flush()
        assert all(verdict.done() for verdict in rest)
        b, duplicate, conflict, rejected, c = rest
        assert b.result() == stored("b", 2)
        assert duplicate.result() == Verdict("orders", "a", "duplicate", 1)
        assert conflict.result() == Verdict("orders", "a", "conflict", 1)
        assert c.result() == stored("c", 3)
        with pytest.raises(EventRejected, match="topic"):
            rejected.result()
    log = await read_all(client, topic="orders", after=0)
    assert [event["event_id"] for event in log] == ["a", "b", "c"]
    stats = await get_json(client, "/stats")
    assert (stats["received"], stats["conflicts"]) == (5, 1)


async def test_oversized_event_is_rejected_alone(
    client: Client,
) -> None:
    huge = named("huge", x="x" * 20 * 2**20)
    async with Publisher(str(client.make_url("")), policy=QUICK) as publisher:
        verdicts = [await publisher.submit(event) for event in (named("a"), huge, named("b"))]
    assert sorted(verdicts[n].result().offset for n in (0, 2)) == [1, 2]
    assert isinstance(verdicts[1].exception(), EventRejected)


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        (Limits(max_batch_events=2, linger_ms=3_600_000), [["a", "b"], ["c", "d"], ["e"]]),
        (Limits(max_batch_bytes=125, linger_ms=3_600_000), [["a", "b"], ["c", "d"], ["e"]]),
        (Limits(max_batch_bytes=1, linger_ms=3_600_000), [["a"], ["b"], ["c"], ["d"], ["e"]]),
        (PATIENT_LINGER, [["a", "b", "c", "d", "e"]]),
    ],
    ids=["events", "bytes", "fewer bytes than an event has", "neither"],
)
async def test_events_share_requests_within_the_limits(
    limits: Limits, batches: list[list[str]]
) -> None:
    async with serving() as server, Publisher(server.url, limits=limits, ordered=True) as publisher:
        verdicts = await submit_all(publisher, *"abcde")
        await publisher.flush()
        assert server.batches == batches
    assert [verdict.result() for verdict in verdicts] == [
        stored(name, offset) for offset, name in enumerate("abcde", 1)
    ]


async def test_batch_is_sent_after_linger_ms() -> None:
    async with serving() as server, Publisher(server.url, limits=Limits(linger_ms=1)) as publisher:
        assert await (await publisher.submit_encoded(encoded("a"))) == stored("a", 1)


async def test_pending_events_are_bounded() -> None:
    gate = Gate()
    limits = Limits(max_pending_events=5, max_batch_events=2, linger_ms=0)
    async with (
        serving(gate, gate) as server,
        Publisher(server.url, limits=limits, max_requests_in_flight=2) as publisher,
    ):
        submitting = [
            asyncio.create_task(publisher.submit_encoded(encoded(f"e-{n}"))) for n in range(20)
        ]
        await gate.reached.wait()
        assert sum(task.done() for task in submitting) == 5
        gate.open()
        verdicts = await asyncio.gather(*submitting)
    assert [verdict.done() for verdict in verdicts] == [True] * 20
    assert len(server.log) == 20


async def test_pending_bytes_are_bounded_and_a_larger_event_is_accepted_alone() -> None:
    size = len(encoded("e-0").line)
    limits = Limits(max_pending_bytes=3 * size, linger_ms=3_600_000)
    gate = Gate()
    async with serving(gate) as server, Publisher(server.url, limits=limits) as publisher:
        large = EncodedEvent("orders", "large", encoded("large", f'"{"x" * 9 * size}"').line)
        events = [*(encoded(f"e-{n}") for n in range(4)), large, encoded("e-5")]
        submitting = [asyncio.create_task(publisher.submit_encoded(event)) for event in events]
        # Without room it does not linger.
        await gate.reached.wait()
        assert [task.done() for task in submitting] == [True] * 3 + [False] * 3
        gate.open()
        verdicts = await asyncio.gather(*submitting)
        await publisher.flush()
    assert ["large"] in server.batches
    assert [verdict.result().status for verdict in verdicts] == ["stored"] * 6


@pytest.mark.parametrize(("ordered", "most"), [(False, 3), (True, 1)])
async def test_requests_in_flight_are_bounded(ordered: bool, most: int) -> None:
    in_flight: list[int] = []
    all_there = asyncio.Event()

    async def count(server: Scripted, request: Any) -> Any:
        in_flight.append(1)
        if sum(in_flight) == most:
            all_there.set()
        await all_there.wait()
        assert sum(in_flight) <= most
        in_flight.append(-1)
        return await takes(server, request)

    limits = Limits(max_batch_events=1)
    async with (
        serving(*[count] * 20) as server,
        Publisher(
            server.url, limits=limits, max_requests_in_flight=3, ordered=ordered
        ) as publisher,
    ):
        await submit_all(publisher, *(f"e-{n}" for n in range(20)))
    assert len(server.bodies) == 20


async def test_a_flush_returns_while_others_go_on_submitting() -> None:
    async with serving() as server, Publisher(server.url, limits=Limits(linger_ms=0)) as publisher:

        async def go_on() -> None:
            number = 0
            while True:
                number += 1
                await publisher.submit_encoded(encoded(f"more-{number}"))
                await asyncio.sleep(0)

        going_on = asyncio.create_task(go_on())
        verdicts = await submit_all(publisher, "a", "b")
        await publisher.flush()
        assert all(verdict.done() for verdict in verdicts)
        assert not going_on.done()
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)


async def test_an_event_whose_future_was_cancelled_is_published_all_the_same() -> None:
    gate = Gate()
    async with serving(gate) as server:
        publisher = Publisher(server.url, limits=PATIENT_LINGER)
        async with publisher:
            (verdict,) = await submit_all(publisher, "a")
            verdict.cancel()
            flush = asyncio.create_task(publisher.flush())
            await gate.reached.wait()
            assert not flush.done()
            gate.open()
            await flush
            assert list(server.log) == ["a"]
            verdict, neighbour = await submit_all(publisher, "b", "b2")
            verdict.cancel()
            publishing = asyncio.create_task(publisher.publish(named("c")))
            await asyncio.sleep(0)
            publishing.cancel()
    assert neighbour.result() == stored("b2", 3)
    assert list(server.log) == ["a", "b", "b2", "c"]


@pytest.mark.parametrize("failure", [busy(), stores_and_cuts], ids=["503", "lost answer"])
async def test_a_request_is_sent_again_byte_for_byte(failure: Answer) -> None:
    retries: list[Retry] = []
    async with (
        serving(failure, failure) as server,
        Publisher(server.url, policy=QUICK, on_retry=retries.append) as publisher,
    ):
        verdict = await publisher.publish(named("a", n=1))
    assert verdict.offset == 1
    assert len(server.bodies) == 3
    assert len(set(server.bodies)) == 1
    assert [retry.attempt for retry in retries] == [1, 2]


async def test_failed_request_does_not_affect_later_ones() -> None:
    limits = Limits(max_batch_events=2, max_pending_events=2, linger_ms=0)
    async with (
        serving(answers(401, "")) as server,
        Publisher(server.url, limits=limits, max_requests_in_flight=1) as publisher,
    ):
        # There is only room for them if that of the first two was given back.
        verdicts = await submit_all(publisher, *"abcdef")
        await publisher.flush()
    errors = [verdict.exception() for verdict in verdicts]
    refused = [error for error in errors if error]
    assert [type(error) for error in refused] == [PublishRefused] * len(server.batches[0])
    assert len({id(error) for error in refused}) == len(refused)
    assert list(server.log) == [*"abcdef"[len(refused) :]]


async def test_the_deadline_counts_from_when_the_youngest_event_was_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    async def deliver(*arguments: object, give_up_at: float, **more: object) -> Delivery:
        given.append(give_up_at)
        return Delivery([], PublishGaveUp(0, 10.0, "it was never sent", may_be_stored=False))

    monkeypatch.setattr(client_module, "deliver", deliver)
    clock = asyncio.get_running_loop().time
    policy = RetryPolicy(deadline_s=10.0)
    async with Publisher("http://unused", limits=PATIENT_LINGER, policy=policy) as publisher:
        first = (await submit_all(publisher, "a"))[0]
        before = clock()
        second = (await submit_all(publisher, "b"))[0]
        after = clock()
    assert len(given) == 1
    assert before + 10 <= given[0] <= after + 10
    assert isinstance(first.exception(), PublishGaveUp)
    assert isinstance(second.exception(), PublishGaveUp)


def test_publisher_runs_on_uvloop() -> None:
    async def main() -> list[Verdict]:
        async with (
            serving(busy("0"), stores_and_cuts) as server,
            Publisher(server.url, policy=QUICK) as publisher,
        ):
            return await asyncio.gather(*(publisher.publish(named(name)) for name in "abc"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [verdict.offset for verdict in runner.run(main())] == [1, 2, 3]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x/?a=1", "http://x#a", "http://[::1"],
)
def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL such as") as refused:
        Publisher(url)
    assert "\n" not in str(refused.value)


def test_a_publisher_without_requests_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_requests_in_flight must be at least 1, not 0$"):
        Publisher("http://127.0.0.1:8080", max_requests_in_flight=0)
