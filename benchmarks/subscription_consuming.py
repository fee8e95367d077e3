"""A subscription whose events consumers take, run after run; its counts are checked each time."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from benchmarks import child, subscription_calls
from benchmarks.measuring import Measured, timed
from benchmarks.serving import Server

_NUMBERS = count(1)


class Consumed:
    """A subscription and the number of its events.

    Args:
        server: the aggregator.
        name: of the subscription.
        events: the number of events that are stored for it.
    """

    def __init__(self, server: Server, name: str, events: int) -> None:
        self._server = server
        self._name = name
        self._left = events
        self._acknowledged = 0

    @classmethod
    async def make(cls, server: Server, events: int, settings: Mapping[str, object]) -> "Consumed":
        """Make a new subscription; raises `NotServed` if the server knows none."""
        name = f"bench-{next(_NUMBERS)}"
        await subscription_calls.make(server.port, name, settings)
        return cls(server, name, events)

    async def consume(
        self, events: int, at_once: int, consumers: int = 1, how: str = "turns"
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
            WrongCounts: other events are acknowledged than the consumers have settled.
        """
        cpu_s = self._server.cpu_s()
        async with child.running(
            "subscription_client", self._server.port, self._name, events, at_once, consumers, how
        ) as client:
            await client.said()
            ended = await client.said()
        cpu_s = self._server.cpu_s() - cpu_s
        self._acknowledged += events
        self._left -= events
        await subscription_calls.check(
            self._server.port, self._name, self._acknowledged, self._left
        )
        return of_client(ended, events)._replace(cpu_s_per_million=cpu_s / events * 1e6)


def of_client(ended: Mapping[str, Any], events: int) -> Measured:
    """Return the figures that consumers have reported."""
    rate, cycles_s = events / ended["seconds"], ended["cycles_s"]
    measured = timed(rate, cycles_s) if len(cycles_s) > 1 else Measured(rate)
    return measured._replace(
        generator_cpu_s_per_million=ended["cpu_s"] / events * 1e6, refused=ended["refused"]
    )
