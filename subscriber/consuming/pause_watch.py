"""The watch on a subscription of which nothing comes, although something is there."""

import asyncio
import logging

from subscriber.calls.requests import Calls

_LOOK_AGAIN_S = 5.0
"""It is looked at no more often."""

_log = logging.getLogger("subscriber")


class PauseWatch:
    """Logs that a subscription is paused, once each time.

    Args:
        calls: send the request.
        name: of the subscription.
    """

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name
        self._look_again_at = 0.0
        self._was_paused = False

    async def look(self) -> None:
        """Look whether it is paused, unless that was looked at just now.

        Raises:
            CallFailed: there was no answer.
            SubscriptionRefused: there is no such subscription any more.
        """
        now = asyncio.get_running_loop().time()
        if now < self._look_again_at:
            return
        self._look_again_at = now + _LOOK_AGAIN_S
        paused = (await self._calls.settings(self._name)).paused
        if paused is not None and not self._was_paused:
            _log.warning(
                "the subscription %r is paused and hands out nothing: %s", self._name, paused
            )
        self._was_paused = paused is not None
