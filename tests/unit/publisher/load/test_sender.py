"""Sending, against the real application behind a middleware that gets in the way."""

import asyncio
import time

import pytest
from aiohttp import web
from support.proxy import Forward, hang_up
from unit.publisher.load.sending import LIMIT_S, TOPICS, Sending, Serve

from publisher.load import sender
from publisher.load.plan import OTHER_PAYLOAD
from publisher.load.sender import RunEnded
from publisher.retry import Retry, RetryPolicy


async def test_everything_is_sent_once_and_each_answer_is_measured(serve: Serve) -> None:
    sending = Sending(await serve(), conflicts=40)
    await sending.run()
    assert await sending.differences() == []
    assert sending.done == sending.verdicts.events == (await sending.stats()).received == 400
    assert len(sending.measured.latency_s) == sending.plan.shape.requests
    assert sending.measured.latency_s == sending.measured.service_s
    assert min(sending.measured.latency_s) > 0
    assert sum(second.events for second in sending.measured.series()) == 400


async def test_concurrent_requests_reach_the_concurrency(serve: Serve) -> None:
    under_way = 0
    seen: set[int] = set()
    full = asyncio.Event()

    async def count(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        nonlocal under_way
        under_way += 1
        seen.add(under_way)
        if under_way == 7:
            full.set()
        # Nobody is answered before all seven are here.
        await full.wait()
        response = await forward()
        under_way -= 1
        return response

    await Sending(await serve(count), concurrency=7).run()
    assert max(seen) == 7


async def test_in_an_open_loop_a_stall_counts_for_all_that_was_due_meanwhile(serve: Serve) -> None:
    released_at = 0.0

    async def stall(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        nonlocal released_at
        if not released_at:
            await asyncio.sleep(0.2)
            released_at = time.perf_counter()
        return await forward()

    rate = 10_000.0
    sending = Sending(
        await serve(stall), rate=rate, events=100, duplicates=30, batch=10, concurrency=1
    )
    await sending.run()
    # One connection: they were answered in their order, and all were due before the release.
    for request, (latency_s, service_s) in enumerate(
        zip(sending.measured.latency_s, sending.measured.service_s, strict=True)
    ):
        due_at = sending.sender._started_at + request * 10 / rate
        assert due_at < released_at
        assert latency_s >= released_at - due_at
        # It was sent only after the release, which its service time does not show.
        if request:
            assert latency_s - service_s >= released_at - due_at


async def test_in_an_open_loop_no_request_is_sent_before_it_is_due(serve: Serve) -> None:
    arrived_at: list[float] = []

    async def note(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        arrived_at.append(time.perf_counter())
        return await forward()

    sending = Sending(await serve(note), rate=2000.0, events=200, duplicates=60, batch=10)
    await sending.run()
    started_at = sending.sender._started_at
    # Sorted, since several connections bring them out of order.
    for request, at in enumerate(sorted(arrived_at)):
        assert at >= started_at + request * 10 / 2000.0


async def test_a_conflict_is_sent_only_when_its_original_is_acknowledged(serve: Serve) -> None:
    conflicts: dict[bytes, int] = {}
    answered: set[int] = set()
    early: list[int] = []

    async def hold(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        key = conflicts.get(body)
        if key is not None and key not in answered:
            early.append(key)
        # The first ones are held longest: the others overtake them.
        for _ in range(max(0, 40 - len(answered))):
            await asyncio.sleep(0)
        answer = await forward()
        if key is None:
            answered.add(keys[body])
        return answer

    sending = Sending(
        await serve(hold), events=120, duplicates=20, conflicts=40, batch=1, concurrency=10
    )
    keys: dict[bytes, int] = {}
    for position, (key, kind) in enumerate(zip(sending.plan.keys, sending.plan.kinds, strict=True)):
        line = sending.sender._content.event(position).line
        keys[line] = key
        if kind >= OTHER_PAYLOAD:
            conflicts[line] = key
    await sending.run()
    assert early == []
    assert await sending.differences() == []


async def test_lost_responses_are_explained_to_the_last_event(serve: Serve) -> None:
    lost: list[int] = []

    async def cut(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        size = body.count(b"\n") + 1
        # Every other one is stored and its answer lost; of those before, the request itself.
        if len(lost) < 9:
            stored = len(lost) % 2 == 0
            lost.append(size if stored else 0)
            if stored:
                await forward()
            return hang_up(request)
        return await forward()

    sending = Sending(await serve(cut), conflicts=40)
    await sending.run()
    assert await sending.differences() == []
    assert len(lost) == 9
    assert (await sending.stats()).received == 400 + sum(lost)
    assert sending.measured.retries.total() == 9
    assert sum(second.retries for second in sending.measured.series()) == 9


async def test_attempt_stored_after_a_later_response_is_explained(
    serve: Serve,
) -> None:
    answered = asyncio.Event()
    late_tries: list[asyncio.Task[web.Response]] = []

    async def late(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        async def later() -> web.Response:
            await answered.wait()
            return await forward()

        if not late_tries:
            # In a task of its own, which goes on when the publisher hangs up.
            late_tries.append(asyncio.create_task(later()))
            return await asyncio.shield(late_tries[0])
        response = await forward()
        answered.set()
        return response

    policy = RetryPolicy(first_wait_s=0.001, deadline_s=30.0, attempt_timeout_s=0.2)
    sending = Sending(await serve(late), policy=policy, events=20, duplicates=6, concurrency=1)
    await sending.run()
    async with asyncio.timeout(LIMIT_S):
        await late_tries[0]
    assert (await sending.stats()).received == 40
    assert sending.verdicts.lost_attempts() == [(0, 0, 1)]
    assert await sending.differences() == []


def test_only_an_attempt_that_timed_out_counts_as_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_s = 100.0
    monkeypatch.setattr(sender, "_clock", lambda: at_s)
    sending = Sending("http://nowhere", policy=RetryPolicy(attempt_timeout_s=60.0))
    attempts = sender._Attempts(started_at=100.0)
    on_retry = sending.sender._retry_recorder(attempts, 20)
    lost, refused = (Retry(1, 20, "lost", stored, 30.0, "r") for stored in (True, False))
    at_s = 159.9
    on_retry(lost)
    assert (attempts.unanswered, attempts.late) == (1, 0)
    # The next one began only behind the wait.
    at_s = 249.8
    on_retry(lost)
    assert (attempts.unanswered, attempts.late) == (2, 0)
    at_s = 339.8
    on_retry(lost)
    assert (attempts.unanswered, attempts.late) == (3, 1)
    at_s = 500.0
    on_retry(refused)
    assert (attempts.unanswered, attempts.late) == (3, 1)


async def test_requests_that_the_aggregator_takes_in_halves_agree(serve: Serve) -> None:
    sending = Sending(await serve(max_batch_events=10))
    await sending.run()
    assert await sending.differences() == []


async def test_a_half_that_has_to_be_sent_again_ends_the_run(serve: Serve) -> None:
    cut_once: list[int] = []

    async def cut(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        size = body.count(b"\n") + 1
        if size == 10 and not cut_once:
            cut_once.append(size)
            return hang_up(request)
        return await forward()

    sending = Sending(await serve(cut, max_batch_events=10), concurrency=1)
    with pytest.raises(RunEnded) as ended:
        await sending.run()
    assert str(ended.value) == (
        "request 1 of 20: its 20 events are too much for one request to this aggregator: "
        "choose a smaller --batch or --payload-bytes"
    )


async def test_a_refused_request_ends_the_run_and_names_the_request(serve: Serve) -> None:
    taken: list[str] = []

    async def refuse(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        taken.append(request.headers["X-Request-ID"])
        if len(taken) == 3:
            return web.json_response({"detail": "not today"}, status=403)
        return await forward()

    sending = Sending(await serve(refuse), concurrency=1)
    with pytest.raises(RunEnded) as ended:
        await sending.run()
    told = f"request 3 of 20: the answer is 403: not today (request id {taken[2]})"
    assert str(ended.value) == told
    assert sending.verdicts.requests == 2
    assert len(taken) == 3


async def test_a_request_that_is_given_up_ends_the_run_of_all_connections(serve: Serve) -> None:
    async def busy(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        raise web.HTTPServiceUnavailable

    policy = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=0.2)
    sending = Sending(await serve(busy), policy=policy)
    with pytest.raises(RunEnded, match=r"^request \d of 20: gave up after \d+ tries"):
        await sending.run()
    assert sending.verdicts.requests == 0
    assert sending.measured.retries.total() > 0


async def test_run_with_stored_keys_ends_at_once(serve: Serve) -> None:
    url = await serve()
    await Sending(url).run()
    again = Sending(url)
    before = await again.stats()
    again.verdicts._heads = [before.topics[topic].head_offset for topic in TOPICS]
    with pytest.raises(
        RunEnded, match=r"was in the log before this run, at offset .* another --run"
    ):
        await again.run()
