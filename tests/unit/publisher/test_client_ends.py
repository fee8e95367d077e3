"""How a publisher ends: what waits is sent, or is told that it was not; nobody waits for ever."""

import asyncio
import logging
import signal
from typing import Any

import pytest
from aiohttp import web
from support.scripted import (
    Answer,
    Gate,
    Scripted,
    answers,
    busy,
    encoded,
    serving,
    takes,
)

from publisher import (
    Event,
    EventRejected,
    Limits,
    NotSent,
    PublishAbandoned,
    Publisher,
    PublishGaveUp,
    PublishRefused,
    RetryPolicy,
    Verdict,
)
from publisher import client as client_module
from publisher.retry import Delivery, Retry

QUICK = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)
ONE_BY_ONE = Limits(max_batch_events=1, linger_ms=0)
PATIENT_LINGER = Limits(linger_ms=3_600_000)


async def submit_all(publisher: Publisher, *names: str) -> list[asyncio.Future[Verdict]]:
    return [await publisher.submit_encoded(encoded(name)) for name in names]


def types_of(verdicts: list[asyncio.Future[Verdict]]) -> list[type[object]]:
    """The class of each verdict or error that is there."""
    there = [verdict for verdict in verdicts if verdict.done()]
    return [type(verdict.exception() or verdict.result()) for verdict in there]


async def test_leaving_sends_the_pending_events() -> None:
    async with serving() as server:
        async with Publisher(server.url, limits=PATIENT_LINGER) as publisher:
            verdicts = await submit_all(publisher, *"abc")
        assert types_of(verdicts) == [Verdict] * 3

        async def fail() -> None:
            async with Publisher(server.url, limits=PATIENT_LINGER) as publisher:
                verdicts.extend(await submit_all(publisher, *"de"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert types_of(verdicts) == [Verdict] * 5
    assert list(server.log) == [*"abcde"]


async def test_submit_before_entering_or_after_leaving_is_not_sent() -> None:
    async with serving() as server:
        publisher = Publisher(server.url)
        with pytest.raises(NotSent, match=r"^the publisher is not open: use `async with`$"):
            await publisher.publish(Event("orders", {}, source="shop"))
        await publisher.flush()
        async with publisher:
            pass
        with pytest.raises(NotSent, match=r"^the publisher was closed$"):
            await publisher.submit(Event("orders", {}, source="shop"))
        await publisher.flush()
        with pytest.raises(RuntimeError, match=r"^a Publisher is entered once: make another one$"):
            await publisher.__aenter__()
    assert server.bodies == []


async def test_submit_in_another_event_loop_is_refused() -> None:
    async with Publisher("http://unused") as publisher:

        def elsewhere() -> None:
            asyncio.run(submit())

        async def submit() -> None:
            await submit_all(publisher, "a")

        with pytest.raises(RuntimeError, match="the event loop in which it was opened"):
            await asyncio.to_thread(elsewhere)


async def test_closing_rejects_waiting_submits() -> None:
    gate = Gate()
    limits = Limits(max_pending_events=1, linger_ms=0)
    async with serving(gate) as server:
        async with Publisher(server.url, limits=limits) as publisher:
            accepted = await submit_all(publisher, "a")
            waiting = [asyncio.create_task(submit_all(publisher, name)) for name in "bcd"]
            await gate.reached.wait()
            asyncio.get_running_loop().call_soon(gate.open)
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert types_of(accepted) == [Verdict]
    assert [str(error) for error in told] == ["the publisher was closed"] * 3
    assert {type(error) for error in told} == {NotSent}
    assert len({id(error) for error in told}) == 3


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("leaving", [False, True], ids=["inside", "while leaving"])
async def test_a_cancellation_does_not_wait_for_answers(leaving: bool, times: int) -> None:
    gate = Gate()
    verdicts: list[asyncio.Future[Verdict]] = []

    async def publish(url: str) -> None:
        async with Publisher(url, limits=ONE_BY_ONE, max_requests_in_flight=1) as publisher:
            verdicts.extend(await submit_all(publisher, *"abc"))
            if not leaving:
                await asyncio.Event().wait()

    async with serving(gate) as server:
        publishing = asyncio.create_task(publish(server.url))
        await gate.reached.wait()
        publishing.cancel()
        if times == 2:
            await asyncio.sleep(0)
            publishing.cancel()
        await asyncio.wait([publishing])
        assert publishing.cancelled()
        await asyncio.wait(verdicts)
        gate.open()
    assert types_of(verdicts) == [PublishAbandoned, NotSent, NotSent]
    assert str(verdicts[0].exception()) == (
        "the publisher was closed before the answer came; the event may be stored or not"
    )


@pytest.mark.parametrize("flush", [True, False])
async def test_it_can_be_closed_from_inside_with_or_without_waiting(flush: bool) -> None:
    gate = Gate()
    async with serving(gate) as server:
        async with Publisher(server.url, limits=ONE_BY_ONE, max_requests_in_flight=1) as publisher:
            verdicts = await submit_all(publisher, *"ab")
            await gate.reached.wait()
            if flush:
                gate.open()
            await publisher.aclose(flush=flush)
            assert types_of(verdicts) == (
                [Verdict, Verdict] if flush else [PublishAbandoned, NotSent]
            )
            with pytest.raises(NotSent, match=r"^the publisher was closed$"):
                await submit_all(publisher, "c")
        gate.open()


def test_an_interrupt_does_not_wait_for_answers() -> None:
    verdicts: list[asyncio.Future[Verdict]] = []

    async def never(server: Scripted, request: web.Request) -> web.StreamResponse:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.Event().wait()
        return web.Response()

    async def main() -> None:
        async with (
            serving(never) as server,
            Publisher(server.url, limits=ONE_BY_ONE, max_requests_in_flight=1) as publisher,
        ):
            verdicts.extend(await submit_all(publisher, *"ab"))
            await asyncio.gather(*verdicts)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    # The one who waits is cancelled, and with it the futures that it gathers.
    assert [verdict.done() for verdict in verdicts] == [True, True]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (answers(401, ""), PublishRefused),
        (answers(200, "<html>"), PublishRefused),
        (busy("1000000"), PublishGaveUp),
    ],
    ids=["refused", "not an aggregator", "given up"],
)
async def test_ordered_publisher_stops_after_a_refused_request(
    failure: Answer, kind: type[Exception]
) -> None:
    limits = Limits(max_batch_events=2, max_pending_events=6, linger_ms=3_600_000)
    gate = Gate()

    async def fails(server: Scripted, request: web.Request) -> web.StreamResponse:
        gate.reached.set()
        await gate.opened.wait()
        return await failure(server, request)

    async with serving(takes, fails) as server:
        async with Publisher(server.url, limits=limits, policy=QUICK, ordered=True) as publisher:
            verdicts = await submit_all(publisher, *"abcdef")
            await gate.reached.wait()
            # The first two were answered for: there is room for two more, the third waits.
            waiting = [asyncio.create_task(submit_all(publisher, name)) for name in "ghi"]
            await asyncio.wait(waiting[:2])
            gate.open()
            await publisher.flush()
            with pytest.raises(NotSent, match="because a request before it was not taken: "):
                await waiting[2]
            with pytest.raises(NotSent, match="because a request before it was not taken: "):
                await submit_all(publisher, "j")
        accepted = verdicts + waiting[0].result() + waiting[1].result()
    assert types_of(accepted) == [Verdict] * 2 + [kind] * 2 + [NotSent] * 4
    assert list(server.log) == [*"ab"]
    assert len(server.bodies) == 2


async def test_ordered_publisher_continues_after_a_rejected_event() -> None:
    names = ["a", "b", "bad-1", "c", "d", "e"]
    async with (
        serving(answers(413, ""), answers(413, "")) as server,
        Publisher(server.url, limits=Limits(max_batch_events=5), ordered=True) as publisher,
    ):
        verdicts = await submit_all(publisher, *names)
        await publisher.flush()
    assert types_of(verdicts) == [Verdict, Verdict, EventRejected, Verdict, Verdict, Verdict]
    assert list(server.log) == [*"abcde"]


async def test_events_stored_before_a_failed_half_get_their_verdicts() -> None:
    async with (
        serving(answers(413, ""), takes, answers(401, "")) as server,
        Publisher(server.url, limits=Limits(max_batch_events=4), ordered=True) as publisher,
    ):
        verdicts = await submit_all(publisher, *"abcd", "e")
    assert types_of(verdicts) == [Verdict] * 2 + [PublishRefused] * 2 + [NotSent]
    # It stopped while it was being left; this is why the last one was not sent.
    assert str(verdicts[-1].exception()).startswith("not sent, because a request before it")
    assert list(server.log) == [*"ab"]


async def test_exception_of_on_retry_goes_to_the_event_loop_handler() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def on_retry(retry: Retry) -> None:
        raise ZeroDivisionError

    async with (
        serving(busy()) as server,
        Publisher(server.url, policy=QUICK, on_retry=on_retry) as publisher,
    ):
        verdicts = await submit_all(publisher, "a")
        await publisher.flush()
    assert types_of(verdicts) == [Verdict]
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]
    assert told[0]["message"] == "publisher: on_retry failed"


async def test_unexpected_failure_of_sending_abandons_every_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    class Odd(Exception):
        def __init__(self, _one: int, _two: int) -> None:
            super().__init__("it cannot be copied")

    async def deliver(*arguments: object, **more: object) -> Delivery:
        raise Odd(1, 2)

    monkeypatch.setattr(client_module, "deliver", deliver)
    async with Publisher("http://unused", limits=PATIENT_LINGER, ordered=True) as publisher:
        verdicts = await submit_all(publisher, "a", "b")
        await publisher.flush()
        with pytest.raises(NotSent, match="a fault in this program"):
            await submit_all(publisher, "c")
    for verdict in verdicts:
        with pytest.raises(PublishAbandoned, match="it cannot be copied") as abandoned:
            verdict.result()
        assert isinstance(abandoned.value.__cause__, Odd)
    assert [type(context["exception"]) for context in told] == [Odd]


async def test_the_first_retry_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serving(busy(), busy(), takes, busy()) as server,
        Publisher(server.url, policy=QUICK) as publisher,
    ):
        for name in "ab":
            await submit_all(publisher, name)
            await publisher.flush()
    told = [record for record in caplog.records if record.name == "publisher"]
    assert [record.levelno for record in told] == [logging.WARNING] * 2
    named = f"(request id {server.headers[0]['X-Request-ID']})"
    assert told[0].getMessage() == f"503 the queue is full; trying again with 1 event {named}"
