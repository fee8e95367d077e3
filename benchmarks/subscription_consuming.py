"""A subscription whose events consumers take, run after run; its counts are checked each time.

Each run has an aggregator of its own, which has nothing in memory that another run has read.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

from benchmarks import child, subscription_calls
from benchmarks.databases import Database
from benchmarks.measuring import Measured, timed
from benchmarks.serving import aggregator

_NUMBERS = count(1)


class Consumed:
    """A subscription and the number of its events.

    Args:
        database: of the log, which holds the events.
        events: the number of events.
        settings: of the subscription, which is made by the first run.
    """

    def __init__(self, database: Database, events: int, settings: Mapping[str, object]) -> None:
        self._database = database
        self._name = f"bench-{next(_NUMBERS)}"
        self._settings = settings
        self._left = events
        self._acknowledged = 0

    async def consume(
        self, events: int, at_once: int, consumers: int = 1, how: str = "carried"
    ) -> Measured:
        """Measure consumers that take and settle events.

        Args:
            events: the number of events.
            at_once: events of a lease at most.
            consumers: their number.
            how: as `subscription_client` calls it.

        Returns:
            The figures; the latency is that of a lease with its settle.

        Raises:
            NotServed: the server knows no subscriptions.
            WrongCounts: other events are acknowledged than the consumers have settled.
        """
        with aggregator(self._database.arguments) as server:
            if not self._acknowledged:
                await subscription_calls.make(server.port, self._name, self._settings)
            arguments = (server.port, self._name, events, at_once, consumers, how)
            async with child.running("subscription_client", *arguments) as client:
                await client.said()
                cpu_s = server.cpu_s()
                ended = await client.said()
                cpu_s = server.cpu_s() - cpu_s
            self._acknowledged += events
            self._left -= events
            await subscription_calls.check(server.port, self._name, self._acknowledged, self._left)
        return of_client(ended, events)._replace(cpu_s_per_million=cpu_s / events * 1e6)


def of_client(ended: Mapping[str, Any], events: int) -> Measured:
    """Return the figures that consumers have reported."""
    rate, cycles_s = events / ended["seconds"], ended["cycles_s"]
    measured = timed(rate, cycles_s) if len(cycles_s) > 1 else Measured(rate)
    return measured._replace(
        generator_cpu_s_per_million=ended["cpu_s"] / events * 1e6, refused=ended["refused"]
    )
