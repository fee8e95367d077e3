"""The attempts in a row that failed, and the wait before the next one."""

import asyncio

from subscriber.calls.requests import CallFailed
from subscriber.errors import SubscriptionGaveUp
from subscriber.policy import OnWait, ReconnectPolicy, Wait


class Attempts:
    """Counts attempts that failed, over all requests of a consumer.

    Args:
        policy: the waits, and when to give up.
        on_wait: called before each wait.
    """

    def __init__(self, policy: ReconnectPolicy, on_wait: OnWait) -> None:
        self._policy = policy
        self._on_wait = on_wait
        self._failed = 0
        self._failed_since = 0.0

    def succeeded(self) -> None:
        """End the row."""
        self._failed = 0

    async def wait(self, failure: CallFailed) -> None:
        """Wait before the next attempt.

        Raises:
            SubscriptionGaveUp: there was no answer for too long.
        """
        now = asyncio.get_running_loop().time()
        if not self._failed:
            self._failed_since = now
        self._failed += 1
        wait_s = self._policy.wait_s(self._failed, failure.wait_s)
        if now + wait_s - self._failed_since >= self._policy.give_up_after_s:
            failed, self._failed = self._failed, 0
            raise SubscriptionGaveUp(failed, self._policy.give_up_after_s, str(failure))
        self._on_wait(Wait(self._failed, str(failure), wait_s))
        await asyncio.sleep(wait_s)
