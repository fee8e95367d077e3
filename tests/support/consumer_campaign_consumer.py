"""A consumer of a campaign, in its own process: a `Subscriber`, or a `BlockingSubscriber`.

It ends with 0 when it was stopped, or has caught up where it is to; with `FAULTY` if its handler
failed with what no handler here raises.
"""

import asyncio
import logging
import os
import signal
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress

from publisher import Event as NewEvent
from publisher import Publisher, RetryPolicy
from subscriber import (
    Batch,
    Delivery,
    DoneElsewhere,
    Event,
    HandlerFailed,
    LeaseLost,
    ReconnectPolicy,
    Subscriber,
    result_id,
)
from support.consumer_campaign_blocking import consume_blocking
from support.consumer_campaign_effects import Effects, Pool, row_of
from support.consumer_campaign_fate import Fate, FatedCalls, Poison
from support.consumer_campaign_plan import RESULTS, STEP, Kind, Plan, Point, Way

FAULTY = 3
RECONNECTS = ReconnectPolicy(first_wait_s=0.02, max_wait_s=0.2)
RETRIES = RetryPolicy(first_wait_s=0.02, max_wait_s=0.2)


class Handler:
    """Handles deliveries as a plan says.

    Args:
        plan: of the consumer.
        fate: where it dies.
        pool: connections to its own database.
        publisher: publishes results.
    """

    def __init__(self, plan: Plan, fate: Fate, pool: Pool, publisher: Publisher) -> None:
        self._plan = plan
        self._fate = fate
        self._pool = pool
        self._publisher = publisher
        self._poison = Poison(plan)
        self._handlers: dict[Kind, Callable[[Sequence[Delivery]], Awaitable[None]]] = {
            Kind.CHECKPOINT: self._in_a_block,
            Kind.RESULTS: self._publish,
            Kind.ACKS: self._write,
            Kind.BESIDE: self._beside_a_block,
            Kind.NOTED_FIRST: self._behind_a_block,
        }

    async def __call__(self, item: Delivery | Batch) -> None:
        """Handle a delivery or a batch."""
        try:
            await self._handle(item)
        except (HandlerFailed, LeaseLost, DoneElsewhere):
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it ends the campaign
            traceback.print_exc()
            os._exit(FAULTY)

    async def _handle(self, item: Delivery | Batch) -> None:
        fate, deliveries = self._fate, [item] if isinstance(item, Delivery) else [*item]
        offsets = [each.offset for each in deliveries]
        if self._poison.is_halving:
            fate.pass_by(Point.HALVING)
        await fate.at(Point.BEFORE, offsets, deliveries[0].delivery)
        if not self._plan.lasts_inside:
            await asyncio.sleep(self._plan.lasts_s)
        await self._handlers[self._plan.kind](deliveries)
        await fate.at(Point.DURABLE, offsets, deliveries[0].delivery)
        if self._plan.acks:
            fate.soon(Point.ACKING)
            with suppress(LeaseLost):
                await item.ack()
        fate.soon(Point.RETURNED)

    async def _in_a_block(self, deliveries: Sequence[Delivery]) -> None:
        async with AsyncExitStack() as stack:
            effects = await stack.enter_async_context(self._pool.one())
            if self._plan.joins:
                await stack.enter_async_context(effects.transaction())
            async with effects.checkpoint(self._plan.subscription, deliveries) as fresh:
                if self._plan.lasts_inside:
                    await asyncio.sleep(self._plan.lasts_s)
                await self._insert(effects, fresh)
                await self._fate.at(Point.WRITTEN, [event.offset for event in fresh])
                self._fate.soon(Point.LEAVING)
            await self._fate.at(Point.JOINED)

    async def _insert(self, effects: Effects, events: Sequence[Event]) -> None:
        for event in events:
            self._poison.check(event)
            await effects.insert(row_of(self._plan, event))
            self._fate.pass_by(Point.AMID)

    async def _publish(self, deliveries: Sequence[Delivery]) -> None:
        verdicts = []
        self._fate.soon(Point.PUBLISHING)
        for event in (each.event for each in deliveries):
            self._poison.check(event)
            verdicts.append(await self._publisher.submit(self._result_of(event)))
            self._fate.pass_by(Point.AMID)
        await asyncio.gather(*verdicts)

    def _result_of(self, event: Event) -> NewEvent:
        return NewEvent(
            RESULTS + self._plan.subscription,
            {"topic": event.topic, "offset": event.offset},
            source="campaign",
            event_id=result_id(event, STEP),
        )

    async def _write(self, deliveries: Sequence[Delivery]) -> None:
        async with self._pool.one() as effects:
            await self._insert(effects, [each.event for each in deliveries])

    async def _beside_a_block(self, deliveries: Sequence[Delivery]) -> None:
        async with (
            self._pool.one() as effects,
            self._pool.one() as other,
            effects.checkpoint(self._plan.subscription, deliveries) as fresh,
        ):
            await self._insert(other, fresh)
            await self._fate.at(Point.WRITTEN)
            self._fate.soon(Point.LEAVING)

    async def _behind_a_block(self, deliveries: Sequence[Delivery]) -> None:
        async with self._pool.one() as effects:
            async with effects.checkpoint(self._plan.subscription, deliveries) as fresh:
                pass
            await self._fate.at(Point.JOINED)
            await self._insert(effects, fresh)


async def consume(plan: Plan) -> None:
    """Consume in an event loop."""
    fate = Fate(plan)
    async with Publisher(plan.url, policy=RETRIES) as publisher:
        handler = Handler(plan, fate, Pool(plan), publisher)
        while True:
            subscriber = Subscriber(
                plan.url,
                plan.subscription,
                consumer=f"consumer-{plan.number}",
                max_events=plan.max_events,
                policy=RECONNECTS,
                calls=FatedCalls(plan.url, fate),
            )
            # From a loop they are raised; another one goes on.
            with suppress(LeaseLost, DoneElsewhere):
                async with subscriber:
                    loop = asyncio.get_running_loop()
                    loop.add_signal_handler(signal.SIGTERM, subscriber.stop)
                    await _consume(subscriber, plan, handler)
                return


async def _consume(subscriber: Subscriber, plan: Plan, handler: Handler) -> None:
    match plan.way:
        case Way.RUN:
            await subscriber.run(
                handler, concurrency=plan.concurrency, until_caught_up=plan.until_caught_up
            )
        case Way.RUN_BATCHES:
            await subscriber.run_batches(
                handler,
                plan.batch_events,
                concurrency=plan.concurrency,
                until_caught_up=plan.until_caught_up,
            )
        case Way.LOOP:
            async for delivery in subscriber:
                await handler(delivery)
        case Way.BATCH_LOOP:
            async for batch in subscriber.batches(plan.batch_events):
                await handler(batch)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def main(plan: Plan) -> int:
    """Be the consumer of a plan, until its end."""
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    # Failures of handlers are told in a sentence, so that every traceback is that of a fault.
    logging.getLogger("subscriber").addFilter(_without_traceback)
    if plan.library.blocks:
        consume_blocking(plan, RECONNECTS, FAULTY)
    else:
        asyncio.run(consume(plan))
    return 0
