"""The plain function: events in, an outcome for each, no asyncio in sight."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from support.http import Client
from support.scripted import Answer, Scripted, answers, serving, stores_and_cuts

from publisher import (
    Event,
    EventInvalid,
    EventRejected,
    Limits,
    NotSent,
    PublishError,
    PublishRefused,
    RetryPolicy,
    Verdict,
    publish,
)

QUICK = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)


def named(event_id: str, **payload: object) -> Event:
    return Event("orders", payload, source="shop", event_id=event_id)


@contextmanager
def serving_aside(*script: Answer) -> Iterator[Scripted]:
    """A scripted server in an event loop of its own, beside this thread."""
    ready, end = threading.Event(), asyncio.Event()
    there: list[tuple[Scripted, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with serving(*script) as server:
            there.append((server, asyncio.get_running_loop()))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    assert ready.wait(30)
    server, loop = there[0]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


async def test_each_event_gets_its_outcome_in_order(client: Client) -> None:
    events = [
        named("a", n=1),
        named("b"),
        named("a", n=1.0),
        named("a", n=2),
        named("c", n=float("nan")),
        Event("no topic", {}, source="shop"),
        named("d"),
    ]
    outcomes = await asyncio.to_thread(publish, str(client.make_url("")), iter(events))
    assert outcomes[:4] == [
        Verdict("orders", "a", "stored", 1),
        Verdict("orders", "b", "stored", 2),
        Verdict("orders", "a", "duplicate", 1),
        Verdict("orders", "a", "conflict", 1),
    ]
    assert isinstance(outcomes[4], EventInvalid)
    assert isinstance(outcomes[5], EventRejected)
    assert outcomes[6] == Verdict("orders", "d", "stored", 3)
    assert len(outcomes) == 7
    assert await asyncio.to_thread(publish, str(client.make_url("")), []) == []


def test_transient_failure_is_retried() -> None:
    with serving_aside(stores_and_cuts) as server:
        outcomes = publish(server.url, [named("a"), named("b")], policy=QUICK)
    assert [outcome.offset for outcome in outcomes if isinstance(outcome, Verdict)] == [1, 2]
    assert len(set(server.bodies)) == 1


def test_events_are_sent_while_the_next_one_is_waited_for() -> None:
    stored = threading.Event()

    async def tells(server: Scripted, request: web.Request) -> web.StreamResponse:
        stored.set()
        return web.json_response(server.store(await request.read()))

    def slowly() -> Iterator[Event]:
        for name in "abc":
            yield named(name)
            # Nothing more comes before this one is there.
            assert stored.wait(30)
            stored.clear()

    with serving_aside(tells, tells, tells) as server:
        outcomes = publish(server.url, slowly())
    assert server.batches == [["a"], ["b"], ["c"]]
    assert len(outcomes) == 3


def test_more_events_than_the_feed_holds_are_published_in_order() -> None:
    names = [f"e-{number}" for number in range(5000)]
    limits = Limits(max_pending_events=50, max_batch_events=20)
    with serving_aside() as server:
        outcomes = publish(server.url, map(named, names), limits=limits, ordered=True)
    assert list(server.log) == names
    assert [outcome.event_id for outcome in outcomes if isinstance(outcome, Verdict)] == names


def test_exception_of_the_iterable_is_raised_after_the_outcomes_of_earlier_events() -> None:
    def breaks() -> Iterator[Event]:
        yield named("a")
        yield named("b")
        raise ZeroDivisionError

    with serving_aside() as server:
        with pytest.raises(ZeroDivisionError):
            publish(server.url, breaks(), limits=Limits(linger_ms=3_600_000))
        assert list(server.log) == ["a", "b"]


def test_stopped_ordered_publishing_consumes_no_more_events() -> None:
    taken: list[str] = []

    def endless() -> Iterator[Event]:
        while True:
            taken.append(f"e-{len(taken)}")
            yield named(taken[-1])

    limits = Limits(max_batch_events=10, max_pending_events=10)
    with serving_aside(answers(401, "")) as server:
        outcomes = publish(server.url, endless(), limits=limits, ordered=True)
    kinds = [type(outcome) for outcome in outcomes]
    refused = kinds.count(PublishRefused)
    assert 1 <= refused <= 10
    assert kinds == [PublishRefused] * refused + [NotSent] * (len(kinds) - refused)
    assert all(isinstance(outcome, PublishError) for outcome in outcomes)
    assert len(outcomes) <= len(taken) <= 2000
    assert len(server.bodies) == 1


def test_an_interrupt_does_not_wait_for_answers() -> None:
    released = threading.Event()

    async def interrupts(server: Scripted, request: web.Request) -> web.StreamResponse:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        await asyncio.to_thread(released.wait)
        return web.Response()

    with serving_aside(interrupts) as server:
        with pytest.raises(KeyboardInterrupt):
            publish(server.url, [named("a")])
        released.set()
        assert len(server.bodies) == 1


def test_an_interrupt_while_the_next_event_is_waited_for() -> None:
    def interrupted() -> Iterator[Event]:
        yield named("a")
        raise KeyboardInterrupt

    with serving_aside() as server, pytest.raises(KeyboardInterrupt):
        publish(server.url, interrupted(), limits=Limits(linger_ms=3_600_000))
    assert server.bodies == []


async def test_publish_inside_an_event_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="use `async with Publisher"):
        publish("http://127.0.0.1:1", [named("a")])


def test_invalid_options_are_refused() -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        publish("127.0.0.1:8080", [named("a")])
