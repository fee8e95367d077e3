"""The consumer of a subscription.

async with Subscriber("http://127.0.0.1:8080", "billing") as subscriber:
    await subscriber.run(handle, concurrency=8)
"""

import logging
import os
import re
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from publisher.credentials import Credentials
from subscriber.calls.http import HttpCalls
from subscriber.calls.requests import CallFailed, Calls, Settings
from subscriber.consuming.attempts import Attempts
from subscriber.consuming.handling import (
    BatchHandler,
    Handle,
    Handler,
    Handling,
    in_halves,
    one_by_one,
)
from subscriber.consuming.intake import Intake
from subscriber.consuming.loop import Batches, Deliveries, DeliveryLoop
from subscriber.delivery import Batch, Delivery
from subscriber.policy import OnWait, ReconnectPolicy, Wait

MAX_EVENTS = 10_000
"""The greatest number of events of a lease."""

_MAX_CONSUMER_CHARACTERS = 256
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

_log = logging.getLogger("subscriber")


class Subscriber:
    """Consumes a subscription, as an asynchronous context manager that is entered once.

    It belongs to one event loop, and is used by one of `run`, `run_batches` and loops at a time.
    Leaving the context acknowledges what was handled, and releases the rest. The sentences of
    docs/use/subscriber.md say what is promised.

    Args:
        url: the aggregator's URL, without `/subscriptions`.
        name: of the subscription.
        create: make the subscription with these settings when the context is entered, unless it is
            there with the same: the members of `PUT /subscriptions/{name}`, `topics` at least.
        consumer: a label, 1 to 256 characters; its own for each Subscriber by default.
        max_events: events of a lease at most, 1 to 10,000. At most twice as many are held.
        ack_within_s: how long an acknowledgement may wait for others to go with, from 0. What was
            handled within that time comes again after a crash.
        close_timeout_s: how long leaving the context may take to tell the aggregator what is to be
            told, from 0.
        credentials: the token, whom to trust, the client's certificate and further headers.
        policy: when to try again, and when to give up; from 0.1 s to 10 s, for ever, by default.
        on_wait: called before each wait. Without it, the logger `subscriber` gets a warning for the
            first one in a row.
        calls: sends the requests in place of HTTP, as `subscriber.testing` does.

    Raises:
        ValueError: an argument is out of its range; one sentence.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        create: Mapping[str, Any] | None = None,
        consumer: str | None = None,
        max_events: int = 100,
        ack_within_s: float = 0.05,
        close_timeout_s: float = 10.0,
        credentials: Credentials | None = None,
        policy: ReconnectPolicy | None = None,
        on_wait: OnWait | None = None,
        calls: Calls | None = None,
    ) -> None:
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise ValueError(
                f"a subscription's name is 1 to 249 characters of A-Z a-z 0-9 . _ -, not {name!r}"
            )
        _check_count("max_events", max_events, MAX_EVENTS)
        for argument, value in (
            ("ack_within_s", ack_within_s),
            ("close_timeout_s", close_timeout_s),
        ):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{argument} must be finite and 0 or more, not {value!r}")
        if consumer is None:
            consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        if not (0 < len(consumer) <= _MAX_CONSUMER_CHARACTERS and consumer.isprintable()):
            raise ValueError(f"consumer must be 1 to 256 printable characters, not {consumer!r}")
        self._calls = HttpCalls(url, credentials=credentials) if calls is None else calls
        self._name = name
        self._create = create
        self._consumer = consumer
        self._max_events = max_events
        self._ack_within_s = ack_within_s
        self._close_timeout_s = close_timeout_s
        self._attempts = Attempts(
            policy or ReconnectPolicy(first_wait_s=0.1), on_wait or _warn_once
        )
        self._intake: Intake | None = None
        self._was_entered = False
        self._runs = False
        self._loop: DeliveryLoop | None = None

    @property
    def name(self) -> str:
        """The name of the subscription."""
        return self._name

    async def __aenter__(self) -> Self:
        """Make the subscription, if asked to, and look at its settings.

        Raises:
            RuntimeError: it was entered before.
            SubscriptionRefused: there is no such subscription, or it has other settings.
            SubscriptionGaveUp: there was no answer for too long.
        """
        if self._was_entered:
            raise RuntimeError("a Subscriber is entered once: make another one")
        self._was_entered = True
        try:
            settings = await self._settings()
        except BaseException:
            await self._calls.aclose()
            raise
        self._intake = Intake(
            self._calls,
            self._name,
            self._consumer,
            self._attempts,
            keeps_order=settings.keeps_order,
            max_events=self._max_events,
            ack_within_s=self._ack_within_s,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell what is to be told, release the rest, and close the connections.

        Raises:
            LeaseLost: the lease of what a loop was handling is lost.
            SubscriptionError: the subscription can't be consumed, or what was to be told is
                refused.
        """
        intake = self._opened()
        loop, self._loop = self._loop, None
        try:
            lost = None if loop is None else loop.leave(error)
            await intake.aclose(self._close_timeout_s)
        finally:
            await self._calls.aclose()
        if lost is not None:
            raise lost from error

    async def run(
        self, handler: Handler, *, concurrency: int = 1, until_caught_up: bool = False
    ) -> None:
        """Handle deliveries, each in a task, until `stop` is called.

        A delivery is acknowledged when its handler returns, unless the handler has settled it. An
        Exception that leaves the handler retries it.

        Args:
            handler: an asynchronous function of a delivery.
            concurrency: how many deliveries may be handled at once, at least 1. Where the
                subscription keeps the order, they are of different topics.
            until_caught_up: return when nothing of the subscription is leased or waiting any more.

        Raises:
            SubscriptionRefused: the subscription can't be consumed any more.
            SubscriptionGaveUp: there was no answer for too long.
        """
        await self._run(one_by_one(handler), 1, concurrency, until_caught_up=until_caught_up)

    async def run_batches(
        self,
        handler: BatchHandler,
        max_events: int = 100,
        *,
        concurrency: int = 1,
        until_caught_up: bool = False,
    ) -> None:
        """Handle batches of deliveries, each in a task, until `stop` is called.

        A batch is acknowledged when its handler returns, as far as the handler has not settled it.
        If an Exception leaves the handler it is called again with the halves of the batch, down to
        one delivery; only what failed alone is retried.

        Args:
            handler: an asynchronous function of a batch.
            max_events: deliveries of a batch at most, 1 to 10,000.
            concurrency: how many batches may be handled at once, at least 1.
            until_caught_up: as for `run`.

        Raises:
            SubscriptionRefused: the subscription can't be consumed any more.
            SubscriptionGaveUp: there was no answer for too long.
        """
        _check_count("max_events", max_events, MAX_EVENTS)
        await self._run(
            in_halves(handler), max_events, concurrency, until_caught_up=until_caught_up
        )

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Return the deliveries, one after the other.

        A delivery is acknowledged when the next one is asked for, unless it was settled. An
        Exception that leaves the context retries it.
        """
        return Deliveries(self._next)

    def batches(self, max_events: int = 100) -> AsyncIterator[Batch]:
        """Return batches of deliveries, one after the other.

        A batch is acknowledged when the next one is asked for, as far as it was not settled. An
        Exception that leaves the context retries all of it; what comes again comes alone.

        Args:
            max_events: deliveries of a batch at most, 1 to 10,000.
        """
        _check_count("max_events", max_events, MAX_EVENTS)
        return Batches(self._next, max_events)

    def stop(self) -> None:
        """Begin nothing more, finish what is being handled, and release the rest.

        It is called in the event loop of the subscriber, by a signal handler of it for instance.
        """
        self._opened().stop()

    async def _next(self, most: int, *, alone: bool) -> list[Delivery]:
        intake = self._opened()
        if self._runs:
            raise _used_twice()
        if self._loop is None:
            self._loop = DeliveryLoop(intake)
        deliveries = await self._loop.next(most, alone=alone)
        if deliveries is None:
            raise StopAsyncIteration
        return deliveries

    async def _run(
        self, handle: Handle, most: int, concurrency: int, *, until_caught_up: bool
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
        intake = self._opened()
        if self._runs:
            raise _used_twice()
        if self._loop is not None:
            self._loop.acknowledge()
        self._runs = True
        try:
            intake.begin(most, concurrency, until_caught_up=until_caught_up)
            await Handling(intake, handle, most=most, concurrency=concurrency).run()
        finally:
            self._runs = False

    async def _settings(self) -> Settings:
        while True:
            try:
                if self._create is not None:
                    await self._calls.create(self._name, self._create)
                settings = await self._calls.settings(self._name)
            except CallFailed as failure:
                await self._attempts.wait(failure)
            else:
                self._attempts.succeeded()
                return settings

    def _opened(self) -> Intake:
        if self._intake is None:
            raise RuntimeError("the subscriber is not open: use `async with`")
        return self._intake


def _used_twice() -> RuntimeError:
    return RuntimeError("a Subscriber is used by one of run, run_batches and loops at a time")


def _check_count(argument: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{argument} must be from 1 to {most:,}, not {value!r}")


def _warn_once(wait: Wait) -> None:
    if wait.attempt == 1:
        _log.warning("%s; trying again until there is an answer", wait.reason)
