"""Sending and taking in acknowledgements, side by side."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from publisher.batching import Limits
from publisher.ship.bookkeeping import Keep
from publisher.ship.sending import Sender
from publisher.ship.target import Report, Target

_STOP_S = 10.0


async def run_sending(
    send: Callable[[Sender], Coroutine[Any, Any, None]],
    target: Target,
    report: Report,
    keep: Keep | None,
    stop: asyncio.Event | None = None,
) -> None:
    """Send and take in acknowledgements side by side, until all of it is done.

    Args:
        send: sends all there is.
        target: where the records go.
        report: whom to tell.
        keep: keeps what was acknowledged; None: what is sent can't be read again, if it is stopped.
        stop: ends sending, and has what was sent waited for a while only, which is told.
    """
    sender = Sender(
        target.url,
        target.topic,
        limits=Limits(max_batch_events=target.batch_events),
        policy=target.policy,
        totals=report.totals,
        keep=keep,
        dead_letters=target.dead_letters,
        tell=report.tell_of_line,
        on_bytes=report.on_bytes,
        on_retry=report.on_retry,
        credentials=target.credentials,
    )
    delivering = asyncio.create_task(sender.run())
    sending = asyncio.create_task(send(sender))
    # Sending may wait for room that an aggregator that is away does not give.
    stopping = asyncio.create_task(stop.wait() if stop else asyncio.Event().wait())
    tasks = (delivering, sending, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not delivering.done():
            await _deliver_the_rest(sender, delivering, sending, stop)
        if stop and not delivering.done():
            again = "standard input has it no more" if keep is None else "the next run sends it"
            report.tell_of_file(
                f"what was read last was not acknowledged within {_STOP_S:g} s; {again}"
            )
        if delivering.done():
            delivering.result()
        if sending.done() and not sending.cancelled():
            sending.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _deliver_the_rest(
    sender: Sender,
    delivering: "asyncio.Task[None]",
    sending: "asyncio.Task[None]",
    stop: asyncio.Event | None,
) -> None:
    # Also if sending failed: what was sent before that is acknowledged all the same.
    sending.cancel()
    await asyncio.wait({sending})
    ending = asyncio.create_task(sender.end())
    await asyncio.wait(
        {delivering, ending},
        timeout=_STOP_S if stop else None,
        return_when=asyncio.FIRST_EXCEPTION,
    )
    ending.cancel()
