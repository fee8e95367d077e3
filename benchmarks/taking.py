"""Consumers of each system, measured: each takes all events, which are counted afterwards."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Protocol

from benchmarks import child, effects, peer_skip_locked, subscription_calls
from benchmarks.consuming import AT_ONCE
from benchmarks.databases import Database, MakeDatabase
from benchmarks.measuring import Measured
from benchmarks.serving import aggregator
from benchmarks.stored_topic import TOPIC
from benchmarks.subscription_consuming import Consumed, of_client
from benchmarks.workload import Row

_SUBSCRIPTION = {"topics": [TOPIC], "from": "start", "order": "none"}
"""With the peers what comes again keeps no order either."""

_NUMBERS = count(1)


class Take(Protocol):
    """Measures consumers of one system."""

    async def __call__(self, consumers: int, *, with_effects: bool) -> Measured:
        """Measure so many consumers, with effects or without."""


class Taking:
    """Measures consumers of each system.

    Args:
        events: the number of events that each system holds.
        postgres: makes an empty database, for effects and queues.
    """

    def __init__(self, events: int, postgres: MakeDatabase) -> None:
        self._events = events
        self._postgres = postgres

    async def leases(self, log: Database, consumers: int, *, with_effects: bool) -> Measured:
        """Measure consumers of a subscription that are written by hand."""
        if with_effects:
            return await self._subscribed(log, "lease_client", consumers, with_effects=True)
        consumed = Consumed(log, self._events, _SUBSCRIPTION)
        return await consumed.consume(self._events, AT_ONCE, consumers)

    async def library(self, log: Database, consumers: int, *, with_effects: bool) -> Measured:
        """Measure consumers of a subscription by the library."""
        return await self._subscribed(log, "library_client", consumers, with_effects=with_effects)

    async def jetstream(
        self, url: str, how: str, consumers: int, *, with_effects: bool
    ) -> Measured:
        """Measure pull consumers of JetStream."""
        async with self._effects(with_effects=with_effects) as dsn:
            return self._of(
                await child.run("peer_jetstream_settling", url, self._events, consumers, how, dsn)
            )

    async def redis(self, url: str, consumers: int, *, with_effects: bool) -> Measured:
        """Measure consumers of a group of a Redis stream."""
        async with self._effects(with_effects=with_effects) as dsn:
            return self._of(
                await child.run("peer_redis_consuming", url, self._events, consumers, dsn)
            )

    async def skip_locked(
        self, rows: Sequence[Row], how: str, consumers: int, *, with_effects: bool
    ) -> Measured:
        """Measure consumers of a queue in a new database; effects are beside it."""
        async with self._postgres() as database:
            dsn = database.location
            await peer_skip_locked.fill(dsn, rows, how)
            await effects.make_table(dsn)
            which = "effects" if with_effects else "none"
            ended = await child.run("peer_skip_locked", dsn, self._events, consumers, how, which)
            if with_effects:
                await effects.check(dsn, self._events)
        return self._of(ended)

    async def _subscribed(
        self, log: Database, client: str, consumers: int, *, with_effects: bool
    ) -> Measured:
        # An aggregator of its own has nothing in memory that another run has read.
        name, events = f"{client}-{next(_NUMBERS)}", self._events
        async with self._effects(with_effects=with_effects) as dsn:
            with aggregator(log.arguments) as server:
                await subscription_calls.make(server.port, name, _SUBSCRIPTION)
                cpu_s = server.cpu_s()
                ended = await child.run(client, server.port, name, events, consumers, dsn)
                cpu_s = server.cpu_s() - cpu_s
                await subscription_calls.check(server.port, name, events)
        return self._of(ended)._replace(cpu_s_per_million=cpu_s / events * 1e6)

    @asynccontextmanager
    async def _effects(self, *, with_effects: bool) -> AsyncIterator[str]:
        """Yield the DSN of a table of effects, which are counted afterwards; "" for none."""
        if not with_effects:
            yield ""
            return
        async with self._postgres() as database:
            await effects.make_table(database.location)
            yield database.location
            await effects.check(database.location, self._events)

    def _of(self, ended: Mapping[str, Any]) -> Measured:
        return of_client(ended, self._events)
