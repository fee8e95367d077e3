"""The requests of a subscriber to a double, with the troubles of a network on their way."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from subscriber import LeaseLost
from subscriber.calls.requests import CallFailed, Calls, Leased, Settings, Settle, Settled
from subscriber.testing import InMemoryAggregator

_Answer = TypeVar("_Answer")

ANSWER_S = 30.0
"""After which a request without an answer is given up, beside what it asks to wait."""


class Way(Enum):
    """How far a request and its answer get."""

    ANSWERED = "answered"
    NOT_DONE = "lost before it is done"
    NOT_TOLD = "done, and the answer is lost; a lease is released, as its writer is told"
    SWALLOWED = "done, and the answer is lost; a lease is kept, as nobody is told"


class Trouble(NamedTuple):
    """What happens to a request.

    Args:
        way: how far it gets.
        before_s, after_s: how long it takes until it is done, and its answer from then on.
        before, after: gates that must be open for that.
        turns: of the event loop that it takes at least, before and after.
        error: raised in place of CallFailed.
    """

    way: Way = Way.ANSWERED
    before_s: float = 0.0
    after_s: float = 0.0
    before: asyncio.Event | None = None
    after: asyncio.Event | None = None
    turns: int = 0
    error: Exception | None = None


FINE = Trouble()


@dataclass(eq=False)
class Sent:
    """A request.

    Attributes:
        kind: `settings`, `create`, `lease`, `carry` (a lease with a settle) or `settle`.
        settle: what it settles.
        max_events: of a lease.
        wait_ms: how long a lease waits.
        begun_s: when it was sent, by the clock of the event loop.
        is_done: whether the aggregator has done it.
        answer: what the aggregator has answered, or why it refused.
        is_over: whether its sender goes on.
        is_told: whether its sender got the answer.
    """

    kind: str
    settle: Settle | None = None
    max_events: int = 0
    wait_ms: int = 0
    begun_s: float = 0.0
    is_done: bool = False
    answer: Any = None
    is_over: bool = False
    is_told: bool = False


class Watch:
    """Is told of requests; does nothing."""

    def sent(self, sent: Sent) -> None:
        """A request is on its way."""

    def done(self, sent: Sent) -> None:
        """The aggregator has done it, or refused it."""

    def given_back(self, sent: Sent) -> None:
        """The lease that it gave was released, as the answer could not be written."""

    def over(self, sent: Sent) -> None:
        """Its sender goes on."""


@dataclass
class TroubledCalls:
    """Sends requests to a double, each with the trouble that comes next; see `Calls`.

    Attributes:
        aggregator: the double.
        troubles: by kind of request, what happens to the next ones; `any` for all kinds.
        watch: is told of each request.
        sent: what was sent.
        is_closed: whether the calls were closed.
    """

    aggregator: InMemoryAggregator
    troubles: dict[str, deque[Trouble]] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    sent: list[Sent] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._calls: Calls = self.aggregator.calls()

    def trouble(self, kind: str, *troubles: Trouble) -> None:
        """Have troubles come to the next requests of a kind."""
        self.troubles.setdefault(kind, deque()).extend(troubles)

    def of(self, *kinds: str) -> list[Sent]:
        """Return what was sent of some kinds."""
        return [each for each in self.sent if each.kind in kinds]

    @property
    def settles(self) -> list[Settle]:
        """What was settled, in order, each time that it was sent."""
        return [each.settle for each in self.sent if each.settle is not None]

    async def create(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make a subscription, unless it is there with the same settings."""
        await self._send(Sent("create"), lambda: self._calls.create(name, settings))

    async def settings(self, name: str) -> Settings:
        """Return the settings of a subscription."""
        return await self._send(Sent("settings"), lambda: self._calls.settings(name))

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        """Lease events, behind what is settled in the same request."""
        sent = Sent("lease" if settle is None else "carry", settle, max_events, wait_ms)
        return await self._send(
            sent, lambda: self._calls.lease(name, consumer, max_events, wait_ms, settle)
        )

    async def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events of a lease."""
        return await self._send(Sent("settle", settle), lambda: self._calls.settle(name, settle))

    async def aclose(self) -> None:
        """Close the calls."""
        self.is_closed = True
        await self._calls.aclose()

    async def _send(self, sent: Sent, do: Callable[[], Awaitable[_Answer]]) -> _Answer:
        assert not self.is_closed
        sent.begun_s = asyncio.get_running_loop().time()
        self.sent.append(sent)
        trouble = self._next(sent.kind)
        self.watch.sent(sent)
        limit_s = ANSWER_S + sent.wait_ms / 1000
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._carried(sent, trouble, do)
        except TimeoutError as error:
            raise CallFailed(f"no answer within {limit_s:g} s") from error
        else:
            sent.is_told = True
            return answer
        finally:
            sent.is_over = True
            if sent.is_done and not sent.is_told and trouble.way is not Way.SWALLOWED:
                self._give_back(sent)
            self.watch.over(sent)

    async def _carried(
        self, sent: Sent, trouble: Trouble, do: Callable[[], Awaitable[_Answer]]
    ) -> _Answer:
        await _pass(trouble.turns, trouble.before_s, trouble.before)
        if trouble.way is Way.NOT_DONE:
            raise trouble.error or CallFailed("the request was lost")
        try:
            sent.answer = answer = await do()
        except Exception as error:
            sent.answer = error
            self.watch.done(sent)
            await _pass(trouble.turns, trouble.after_s, trouble.after)
            if trouble.way is not Way.ANSWERED:
                raise CallFailed("the answer was lost") from error
            sent.is_told = True
            raise
        sent.is_done = True
        self.watch.done(sent)
        await _pass(trouble.turns, trouble.after_s, trouble.after)
        if trouble.way is not Way.ANSWERED:
            raise trouble.error or CallFailed("the answer was lost")
        return answer

    def _next(self, kind: str) -> Trouble:
        for queue in (self.troubles.get(kind), self.troubles.get("any")):
            if queue:
                return queue.popleft()
        return FINE

    def _give_back(self, sent: Sent) -> None:
        """Release a lease whose answer could not be written, as the aggregator does."""
        if isinstance(sent.answer, Leased) and sent.answer.lease is not None:
            parts = self.aggregator._parts
            with suppress(LeaseLost):
                parts.leases.give_back("billing", sent.answer.lease)
                parts.wakeups.wake()
                self.watch.given_back(sent)


async def _pass(turns: int, wait_s: float, gate: asyncio.Event | None) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    if wait_s:
        await asyncio.sleep(wait_s)
    if gate is not None:
        await gate.wait()
