"""Revocation: streams end soon after their readers may not read what they follow any more."""

import asyncio

from aggregator.access.authority import Identity
from aggregator.access.checks import EVERY_TOPIC
from aggregator.access.gate import Gate
from aggregator.live.ends import CREDENTIAL
from aggregator.live.follower import Follower
from aggregator.logging.observer_guard import log_failure

_INTERVAL_S = 5.0
"""Between two looks at the streams that are open."""


class Revocation:
    """Ends the streams of those whose rights ended, or shrank below what they follow.

    Args:
        gate: knows the rights.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._open: dict[Follower, Identity] = {}
        self._task: asyncio.Task[None] | None = None

    def watch(self, follower: Follower, identity: Identity) -> None:
        """Look after a stream from now on, until it is given up with `forget`."""
        if self._gate.access is None:
            return
        self._open[follower] = identity
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="revocation")

    def forget(self, follower: Follower) -> None:
        """Look after a stream no more. Idempotent."""
        self._open.pop(follower, None)

    def look(self) -> None:
        """Look at all streams once."""
        for follower, identity in list(self._open.items()):
            if not self._may_go_on(follower, identity):
                follower.stop(CREDENTIAL)

    async def aclose(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _may_go_on(self, follower: Follower, identity: Identity) -> bool:
        entry, before = self._gate.rights_now(identity), identity.entry
        if entry is None:
            return False
        if (entry.admin, entry.read) == (before.admin, before.read):
            return True
        # It was opened with what its patterns could stand for then.
        if follower.request.topics.prefixes:
            return entry.covers_read(EVERY_TOPIC)
        return all(map(entry.may_read, follower.request.topics.names))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - without it, no stream would end
                log_failure(self.look, error)
