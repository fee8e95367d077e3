"""Publishing while a subscription follows: what it costs, and whether the subscription keeps up."""

import time

from benchmarks import child, subscription_calls
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.serving import aggregator

AT_ONCE = 5_000
_NAME = "follower"


class Following:
    """Publishing beside one consumer, of which both rates are seen.

    Args:
        make: makes an empty database.
        sent: the events.
    """

    def __init__(self, make: MakeDatabase, sent: Sent) -> None:
        self._make = make
        self._sent = sent
        self._settled: Measured | None = None

    async def publish(self) -> Measured:
        """Measure both, and return what publishing reached.

        Raises:
            NotServed: the server knows no subscriptions.
            WrongCounts: other events were counted than were sent, or than were settled.
        """
        sent = self._sent
        async with self._make() as database:
            with aggregator(database.arguments) as server:
                settings = {"topics": ["*"], "from": "start"}
                await subscription_calls.make(server.port, _NAME, settings)
                async with child.running(
                    "subscription_client", server.port, _NAME, sent.new, AT_ONCE, 1, "carried"
                ) as client:
                    await client.said()
                    begun = time.perf_counter()
                    measured, _ = await through([server], sent)
                    ended = await client.said()
                    seconds = time.perf_counter() - begun
                await check(server.port, sent.events, sent.new)
                await subscription_calls.check(server.port, _NAME, sent.new)
        self._settled = Measured(sent.events / seconds, refused=ended["refused"])
        self.max_lag = ended["max_lag"]
        return measured

    async def settled(self) -> Measured:
        """Return the rate up to the last settle, when `publish` was measured.

        It is of the events that were sent, duplicates included: at that of publishing, the
        subscription has kept up.
        """
        if self._settled is None:
            raise RuntimeError("nothing was published")
        return self._settled
