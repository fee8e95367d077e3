"""Delays: how long one publisher waits for its answer, and a reader of the topic for the event."""

from collections.abc import Sequence

from benchmarks import child
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, timed
from benchmarks.serving import aggregator


class Delays:
    """The delays of events that are published one at a time, of which both are seen.

    Args:
        make: makes an empty database.
        events: the number of events.
    """

    def __init__(self, make: MakeDatabase, events: int) -> None:
        self._make = make
        self._events = events
        self._to_events: Sequence[float] = ()

    async def to_answer(self) -> Measured:
        """Measure both, and return how long the answers took.

        Raises:
            NotServed: the server knows no streams.
        """
        async with self._make() as database:
            with aggregator(database.arguments) as server:
                ended = await child.run("delay_client", server.port, self._events)
        self._to_events = ended["events_s"]
        return _measured(ended["answers_s"])

    async def to_event(self) -> Measured:
        """Return how long the events took to the reader, when the answers were measured."""
        return _measured(self._to_events)


def _measured(delays_s: Sequence[float]) -> Measured:
    return timed(len(delays_s) / sum(delays_s), delays_s)
