"""A consumer of a campaign without asyncio: a `BlockingSubscriber`, whose handlers are threads."""

import os
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Protocol

import psycopg

from subscriber import (
    BlockingBatch,
    BlockingDelivery,
    BlockingSubscriber,
    DoneElsewhere,
    Event,
    HandlerFailed,
    LeaseLost,
    ReconnectPolicy,
    checkpoint,
)
from support.consumer_campaign_effects import (
    BUSY_S,
    PSYCOPG_INSERT,
    SQLITE_INSERT,
    Row,
    row_of,
)
from support.consumer_campaign_fate import Fate, FatedCalls, Poison
from support.consumer_campaign_plan import Kind, Library, Plan, Point, Way

_Item = BlockingDelivery | BlockingBatch
_Block = AbstractContextManager[list[Event]]


class _Effects(Protocol):
    """A connection over which effects are written by one thread."""

    def insert(self, row: Row) -> None: ...

    def transaction(self) -> AbstractContextManager[object]: ...

    def checkpoint(self, subscription: str, item: _Item) -> _Block: ...


class _OfSqlite3:
    def __init__(self, plan: Plan) -> None:
        self._connection = sqlite3.connect(plan.target, timeout=BUSY_S, isolation_level=None)

    def insert(self, row: Row) -> None:
        self._connection.execute(SQLITE_INSERT, row)

    @contextmanager
    def transaction(self) -> Iterator[object]:
        self._connection.execute("BEGIN")
        # It commits, or rolls back.
        with self._connection:
            yield self._connection

    def checkpoint(self, subscription: str, item: _Item) -> _Block:
        return checkpoint(self._connection, subscription, item)


class _OfPsycopg:
    def __init__(self, plan: Plan) -> None:
        self._connection = psycopg.connect(plan.target, autocommit=True)

    def insert(self, row: Row) -> None:
        self._connection.execute(PSYCOPG_INSERT, row)

    def transaction(self) -> AbstractContextManager[object]:
        return self._connection.transaction()

    def checkpoint(self, subscription: str, item: _Item) -> _Block:
        return checkpoint(self._connection, subscription, item)


class _Handler:
    """Handles deliveries as a plan says, in threads; see `support.consumer_campaign_consumer`."""

    def __init__(self, plan: Plan, fate: Fate, faulty: int) -> None:
        self._plan = plan
        self._fate = fate
        self._faulty = faulty
        self._poison = Poison(plan)
        self._threads = threading.local()

    def __call__(self, item: _Item) -> None:
        try:
            self._handle(item)
        except (HandlerFailed, LeaseLost, DoneElsewhere):
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it ends the campaign
            traceback.print_exc()
            os._exit(self._faulty)

    def _handle(self, item: _Item) -> None:
        fate = self._fate
        deliveries = [item] if isinstance(item, BlockingDelivery) else [*item]
        offsets = [each.offset for each in deliveries]
        if self._poison.is_halving:
            fate.pass_by(Point.HALVING)
        fate.at_blocking(Point.BEFORE, offsets, deliveries[0].delivery)
        if not self._plan.lasts_inside:
            time.sleep(self._plan.lasts_s)
        if self._plan.kind is Kind.CHECKPOINT:
            self._in_a_block(item)
        else:
            self._insert([each.event for each in deliveries])
        fate.at_blocking(Point.DURABLE, offsets, deliveries[0].delivery)
        if self._plan.acks:
            fate.soon_blocking(Point.ACKING)
            with suppress(LeaseLost):
                item.ack()
        fate.soon_blocking(Point.RETURNED)

    def _in_a_block(self, item: _Item) -> None:
        with ExitStack() as stack:
            if self._plan.joins:
                stack.enter_context(self._effects.transaction())
            with self._effects.checkpoint(self._plan.subscription, item) as fresh:
                if self._plan.lasts_inside:
                    time.sleep(self._plan.lasts_s)
                self._insert(fresh)
                self._fate.at_blocking(Point.WRITTEN, [event.offset for event in fresh])
                self._fate.soon_blocking(Point.LEAVING)
            self._fate.at_blocking(Point.JOINED)

    def _insert(self, events: Sequence[Event]) -> None:
        for event in events:
            self._poison.check(event)
            self._effects.insert(row_of(self._plan, event))
            self._fate.pass_by(Point.AMID)

    @property
    def _effects(self) -> _Effects:
        """The connection of this thread."""
        found: _Effects | None = getattr(self._threads, "effects", None)
        if found is None:
            is_sqlite = self._plan.library is Library.SQLITE3_BLOCKING
            found = self._threads.effects = (_OfSqlite3 if is_sqlite else _OfPsycopg)(self._plan)
        return found


def consume_blocking(plan: Plan, policy: ReconnectPolicy, faulty: int) -> None:
    """Consume with threads.

    Args:
        plan: of the consumer.
        policy: when to try again.
        faulty: the status to end with where a handler fails with what none here raises.
    """
    fate = Fate(plan)
    handler = _Handler(plan, fate, faulty)
    while True:
        subscriber = BlockingSubscriber(
            plan.url,
            plan.subscription,
            consumer=f"consumer-{plan.number}",
            max_events=plan.max_events,
            policy=policy,
            calls=FatedCalls(plan.url, fate),
        )
        # From a loop they are raised; another one goes on.
        with suppress(LeaseLost, DoneElsewhere):
            with subscriber:
                signal.signal(signal.SIGTERM, _stops(subscriber))
                _consume(subscriber, plan, handler)
            return


def _stops(subscriber: BlockingSubscriber) -> Callable[[int, object], None]:
    return lambda _number, _frame: subscriber.stop()


def _consume(subscriber: BlockingSubscriber, plan: Plan, handler: _Handler) -> None:
    match plan.way:
        case Way.RUN:
            subscriber.run(
                handler, concurrency=plan.concurrency, until_caught_up=plan.until_caught_up
            )
        case Way.RUN_BATCHES:
            subscriber.run_batches(
                handler,
                plan.batch_events,
                concurrency=plan.concurrency,
                until_caught_up=plan.until_caught_up,
            )
        case Way.LOOP:
            for delivery in subscriber:
                handler(delivery)
        case Way.BATCH_LOOP:
            for batch in subscriber.batches(plan.batch_events):
                handler(batch)
