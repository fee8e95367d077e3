"""The stage of a scenario: consumers of a double in virtual time, and what happens to them."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from subscriber import LeaseLost, ReconnectPolicy, Subscriber, SubscriptionGaveUp
from subscriber.testing import InMemoryAggregator
from support.library_calls import Trouble, TroubledCalls
from support.library_grants import Consumer
from support.library_judge import NAME, Judge
from support.library_scenario import Act, Mode, Plan, Program, Scenario
from support.library_time import VirtualLoop, run_virtually, turns
from support.library_witness import Poison, Witness

LIMIT_S = 3600.0
"""Virtual time within which everything ends."""

_CLOSE_S = 10.0
_GOES_ON_S = 3.0
"""How long consumers go on when nothing happens any more, before they are ended."""

_SLOW_S = 70.0
"""Longer than any lease is held without being extended."""

_PATIENT = ReconnectPolicy(first_wait_s=0.1, max_wait_s=2.0)
_IMPATIENT = ReconnectPolicy(first_wait_s=0.1, max_wait_s=2.0, give_up_after_s=3.0)


def play(scenario: Scenario) -> None:
    """Play a scenario to its end.

    Raises:
        AssertionError: a promise does not hold.
    """
    run_virtually(_play(scenario))


async def _play(scenario: Scenario) -> None:
    stage = Stage(scenario)
    async with asyncio.timeout(LIMIT_S):
        for plan in scenario.plans:
            await stage.start(plan)
        for step in scenario.steps:
            await getattr(stage, step.what)(*(() if step.argument is None else (step.argument,)))
        await stage.end()
        await stage.catch_up()
    stage.check()


class _Life:
    """A consumer as it lives.

    Args:
        consumer: what the judge knows of it.
        subscriber: the subscriber.
    """

    def __init__(self, consumer: Consumer, subscriber: Subscriber) -> None:
        self.consumer = consumer
        self.subscriber = subscriber
        self.task: asyncio.Task[None] | None = None
        self.is_open = False
        self.is_left = False
        self.cancellations = 0


class Stage:
    """A double, its consumers, and what can happen to them: a method for each step.

    Args:
        scenario: what is played.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.aggregator = InMemoryAggregator()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.passed = self.aggregator.advance
        self.aggregator.create(NAME, scenario.settings)
        self.judge = Judge(
            self.aggregator,
            keeps_order=scenario.settings["order"] == "topic",
            source=scenario.settings["source"],
        )
        self._troubles: deque[Trouble] = deque(scenario.troubles)
        self._programs: Iterator[Program] = iter(scenario.programs)
        self._lives: list[_Life] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._publish(scenario.published)

    # What happens.

    async def turns(self, count: int) -> None:
        """Let the others have so many turns."""
        await turns(count)

    async def passes(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def publish(self, events: Sequence[tuple[str, str]]) -> None:
        """Publish events."""
        self._publish(events)

    async def seek(self, to: str) -> None:
        """Move the subscription to its start, to now, or one of its topics to its middle."""
        topics = list(self.aggregator.subscription(NAME).topics)
        heads = {topic: len(self.judge.sources[topic]) for topic in topics}
        if to in {"start", "now"}:
            self.aggregator.seek(NAME, to)
            for topic, head in heads.items():
                self.judge.moved(topic, head if to == "now" else 0)
        elif to in heads:
            self.aggregator.seek(NAME, {"offsets": {to: heads[to] // 2}})
            self.judge.moved(to, heads[to] // 2)

    async def lose_leases(self) -> None:
        """Have all leases run out."""
        self.judge.all_lost()
        self.aggregator.lose_leases(NAME)

    async def advance(self, seconds: float) -> None:
        """Move the clock of the aggregator on, and no other."""
        self.aggregator.advance(seconds)

    async def pause(self) -> None:
        """Pause the subscription."""
        self.aggregator.pause(NAME)

    async def resume(self) -> None:
        """Let the subscription go on."""
        self.aggregator.resume(NAME)

    async def retry_dead(self) -> None:
        """Have all dead letters wait again."""
        dead = self.judge.bury()
        self.aggregator.retry_dead(NAME)
        self.judge.revived(dead)

    async def start(self, plan: Plan) -> None:
        """Begin a consumer."""
        most = max([plan.max_events, *(each.most for each in plan.modes if _is_batched(each))])
        consumer = Consumer(len(self._lives), most, gives_up=plan.gives_up)
        calls = TroubledCalls(
            self.aggregator,
            dict.fromkeys(("lease", "carry", "settle"), self._troubles),
            self.judge.watch(consumer),
        )
        subscriber = Subscriber(
            "http://in-memory",
            NAME,
            consumer=f"consumer-{consumer.number}",
            max_events=plan.max_events,
            ack_within_s=plan.ack_within_s,
            close_timeout_s=_CLOSE_S,
            policy=_IMPATIENT if plan.gives_up else _PATIENT,
            on_wait=lambda _: None,
            calls=calls,
        )
        life = _Life(consumer, subscriber)
        life.task = asyncio.create_task(self._live(life, plan))
        self._lives.append(life)

    async def stop(self, number: int) -> None:
        """Stop a consumer."""
        life = self._lives[number % len(self._lives)]
        if life.is_open:
            life.subscriber.stop()
            if life.consumer.stopped_s is None:
                life.consumer.stopped_s = asyncio.get_running_loop().time()

    async def cancel(self, number: int) -> None:
        """Cancel a consumer."""
        life = self._lives[number % len(self._lives)]
        life.consumer.is_disturbed = True
        life.cancellations += 1
        assert life.task is not None
        life.task.cancel()

    # The end.

    async def end(self) -> None:
        """End all consumers."""
        self.aggregator.resume(NAME)
        await asyncio.sleep(_GOES_ON_S)
        for number, life in enumerate(self._lives):
            await self.stop(number)
            assert life.task is not None
            if not (life.is_open or life.is_left):
                life.task.cancel()
        tasks = [life.task for life in self._lives if life.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        for task in tasks:
            if not task.cancelled():
                await task
        assert not self.judge.broken, self.judge.broken

    async def catch_up(self) -> None:
        """Have a consumer that nothing disturbs handle all that is left, slowly at first."""
        self._troubles.clear()
        self._programs = iter([Program([Act(sleeps_s=_SLOW_S)])] * 2)
        undisturbed = Mode("run", 1, 2, until_caught_up=True)
        await self.start(Plan([undisturbed], 10, 0.05, gives_up=False))
        life = self._lives[-1]
        life.consumer.is_troubled = False
        assert life.task is not None
        await life.task

    def check(self) -> None:
        """Check what must hold at the end."""
        self.judge.check_law()
        status = self.aggregator.subscription(NAME)
        assert (status.leased, status.waiting) == (0, 0)
        self.judge.check_caught_up({topic: each.head for topic, each in status.topics.items()})
        assert not self.judge.broken, self.judge.broken

    # How a consumer lives.

    async def _live(self, life: _Life, plan: Plan) -> None:
        consumer, loop = life.consumer, asyncio.get_running_loop()
        witness = Witness(self.judge, consumer, self._programs, self._tasks)
        left_s, cancellations, has_failed = 0.0, 0, False
        try:
            async with life.subscriber:
                life.is_open = True
                try:
                    for mode in plan.modes:
                        try:
                            if not await self._consume(life, mode, witness):
                                break
                        except asyncio.CancelledError:
                            if mode is plan.modes[-1] or _is_loop(mode):
                                raise
                            # It goes on in another way.
                finally:
                    life.is_open, life.is_left = False, True
                    consumer.is_over = True
                    left_s, cancellations = loop.time(), life.cancellations
        except Poison:
            pass
        except asyncio.CancelledError:
            pass
        except LeaseLost:
            pass
        except SubscriptionGaveUp:
            has_failed = True
            assert plan.gives_up
        is_cut = loop.time() - left_s > _CLOSE_S - 0.01 or life.cancellations > cancellations
        if left_s and not is_cut and not has_failed:
            self._check_told(consumer)

    async def _consume(self, life: _Life, mode: Mode, witness: Witness) -> bool:
        """Consume in a way; return whether the next way is to be tried."""
        consumer = life.consumer
        consumer.is_disturbed = False
        consumer.most = mode.most if _is_batched(mode) else 1
        consumer.concurrency = 1 if _is_loop(mode) else mode.concurrency
        heads = {topic: len(sources) for topic, sources in self.judge.sources.items()}
        epochs = dict(self.judge.epochs)
        goes_on = await _consume(life.subscriber, mode, witness)
        has_ended = mode.until_caught_up and not _is_loop(mode) and consumer.stopped_s is None
        if has_ended and self.judge.epochs == epochs:
            self.judge.check_caught_up(heads)
        return goes_on

    def _check_told(self, consumer: Consumer) -> None:
        """Check that a consumer has told all that was to be told, and released the rest."""
        now_s, now_us = asyncio.get_running_loop().time(), self.judge.now_us()
        for lease in self.judge.leases.values():
            if lease.consumer is not consumer or lease.local_until_s is None:
                continue
            if not lease.may_be_lost(now_s, now_us):
                left = [each for each in lease.grants.values() if each.outcome is None]
                assert not left, f"never told: {left}"

    def _publish(self, events: Sequence[tuple[str, str]]) -> None:
        for topic, source in events:
            self.aggregator.publish(topic, {}, source=source)
            self.judge.sources[topic].append(source)


async def _consume(subscriber: Subscriber, mode: Mode, witness: Witness) -> bool:
    """Consume in a way; return whether the next way is to be tried."""
    most, concurrency, until = mode.most, mode.concurrency, mode.until_caught_up
    match mode.kind:
        case "run":
            await subscriber.run(witness.handle, concurrency=concurrency, until_caught_up=until)
        case "run_batches":
            await subscriber.run_batches(
                witness.handle_batch, most, concurrency=concurrency, until_caught_up=until
            )
        case "loop":
            async for delivery in subscriber:
                if not await witness.body([delivery]):
                    return False
        case _:
            async for batch in subscriber.batches(most):
                if not await witness.body(list(batch)):
                    return False
    return True


def _is_batched(mode: Mode) -> bool:
    return mode.kind in {"run_batches", "batches"}


def _is_loop(mode: Mode) -> bool:
    return mode.kind in {"loop", "batches"}
