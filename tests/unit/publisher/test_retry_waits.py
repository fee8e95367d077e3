"""Waits between tries are drawn, bounded and asked for; the deadline ends them."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.delivering import BATCH, HASTY, PATIENT, STORED, publish
from support.scripted import (
    Gate,
    busy,
    serving,
)

from publisher.errors import PublishGaveUp
from publisher.retry import Retry, RetryPolicy, publish_batch


@pytest.mark.parametrize(
    "asked",
    ["3600", "9" * 5000, format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True)],
    ids=["seconds", "very many seconds", "date"],
)
async def test_wait_is_at_least_retry_after(asked: str) -> None:
    # Nothing else than Retry-After could make the next try fall behind so long a deadline.
    async with serving(busy(asked)) as server:
        with pytest.raises(PublishGaveUp, match="the queue is full") as gave_up:
            await publish(server.url)
    assert gave_up.value.attempts == len(server.bodies) == 1
    assert gave_up.value.may_be_stored


class _Seen(Exception):
    """Ends the sending before a wait begins."""


@settings(max_examples=25)
@given(
    first_wait_s=st.floats(0, 0.002),
    max_wait_s=st.floats(0, 0.01),
    attempts=st.integers(1, 6),
    retry_after=st.sampled_from([None, "0", "7", "3600"]),
)
def test_waits_are_drawn_below_a_doubling_bound_and_not_below_retry_after(
    first_wait_s: float, max_wait_s: float, attempts: int, retry_after: str | None
) -> None:
    waits: list[float] = []

    def on_retry(retry: Retry) -> None:
        waits.append(retry.wait_s)
        if retry.attempt == attempts:
            raise _Seen

    async def retried() -> None:
        policy = RetryPolicy(first_wait_s, max_wait_s, deadline_s=math.inf)
        # The last wait, which may be asked for, is not waited.
        script = [busy("0")] * (attempts - 1) + [busy(retry_after)]
        async with serving(*script) as server, aiohttp.ClientSession() as session:
            with pytest.raises(_Seen):
                await publish_batch(session, server.url, BATCH, policy=policy, on_retry=on_retry)

    asyncio.run(retried())
    assert len(waits) == attempts
    for number, wait_s in enumerate(waits):
        least = float(retry_after or 0) if number == attempts - 1 else 0.0
        assert least <= wait_s <= max(least, min(max_wait_s, first_wait_s * 2**number))


async def test_waits_are_spread_over_the_whole_range() -> None:
    retries: list[Retry] = []
    policy = RetryPolicy(first_wait_s=0.01, max_wait_s=0.01, deadline_s=60.0)
    async with serving(*[busy("0")] * 100) as server:
        await publish(server.url, policy, retries)
    waits = sorted(retry.wait_s / 0.01 for retry in retries)
    # The chance that a hundred uniform draws miss this is below one in a million.
    assert waits[0] < 0.15
    assert waits[-1] > 0.85
    assert 0.25 < sum(waits) / 100 < 0.75


async def test_a_batch_is_given_up_at_its_deadline() -> None:
    retries: list[Retry] = []
    async with serving(*[busy()] * 10_000) as server:
        with pytest.raises(PublishGaveUp) as gave_up:
            await publish(server.url, HASTY, retries)
    assert gave_up.value.attempts == len(retries) + 1
    assert str(gave_up.value) == (
        f"gave up after {len(retries) + 1:,} tries (deadline: 1 s), the last failure: "
        f"503 the queue is full (request id {retries[0].request_id})"
    )


async def test_last_attempt_times_out_at_the_deadline() -> None:
    gate = Gate()
    async with serving(busy(), gate) as server:
        with pytest.raises(PublishGaveUp, match="the queue is full") as gave_up:
            await publish(server.url, RetryPolicy(first_wait_s=0.001, deadline_s=1.0))
        assert gate.reached.is_set()
        gate.open()
    assert gave_up.value.attempts == 2


async def test_batch_past_its_deadline_is_not_sent() -> None:
    async with serving() as server, aiohttp.ClientSession() as session:
        with pytest.raises(PublishGaveUp) as gave_up:
            await publish_batch(
                session, server.url, BATCH, policy=PATIENT, on_retry=print, give_up_at=0.0
            )
    assert server.bodies == []
    assert gave_up.value.attempts == 0
    assert not gave_up.value.may_be_stored


async def test_exception_of_on_retry_is_raised() -> None:
    def on_retry(retry: Retry) -> None:
        raise _Seen

    async with serving(busy()) as server, aiohttp.ClientSession() as session:
        with pytest.raises(_Seen):
            await publish_batch(session, server.url, BATCH, policy=PATIENT, on_retry=on_retry)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first_wait_s": -1}, "first_wait_s must be finite and 0 or more, not -1"),
        ({"max_wait_s": math.inf}, "max_wait_s must be finite and 0 or more, not inf"),
        ({"max_wait_s": math.nan}, "max_wait_s must be finite and 0 or more, not nan"),
        ({"deadline_s": 0}, "deadline_s must be above 0, not 0"),
        ({"attempt_timeout_s": math.nan}, "attempt_timeout_s must be above 0, not nan"),
    ],
)
def test_policy_out_of_range_is_refused(changes: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        RetryPolicy(**changes)


async def test_policy_accepts_infinite_times() -> None:
    policy = RetryPolicy(first_wait_s=0.001, deadline_s=math.inf, attempt_timeout_s=math.inf)
    async with serving(busy()) as server:
        assert await publish(server.url, policy) == STORED
