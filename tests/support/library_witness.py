"""The handlers of a scenario, which do what their programs say and tell the judge before."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NoReturn

from subscriber import AlreadySettled, Batch, Delivery, LeaseLost
from support.library_grants import Consumer, Grant
from support.library_judge import Judge
from support.library_scenario import Act, Program


class Poison(Exception):
    """What handlers fail with."""


class Witness:
    """What the handlers of a consumer do.

    Args:
        judge: who is told.
        consumer: whose handlers they are.
        programs: what handlers do, in the order in which they are called.
        tasks: those that handlers begin and do not wait for.
    """

    def __init__(
        self,
        judge: Judge,
        consumer: Consumer,
        programs: Iterator[Program],
        tasks: list["asyncio.Task[None]"],
    ) -> None:
        self._judge = judge
        self._consumer = consumer
        self._programs = programs
        self._tasks = tasks
        self._whole: dict[object, list[Grant]] = {}
        """By task, all that it was given first: the halves of a batch are parts of it."""

    async def handle(self, delivery: Delivery) -> None:
        """Handle a delivery in `run`."""
        await self._handle([delivery], is_halved=False)

    async def handle_batch(self, batch: Batch) -> None:
        """Handle a batch in `run_batches`."""
        await self._handle(list(batch), is_halved=True)

    async def body(self, deliveries: Sequence[Delivery]) -> bool:
        """Be the body of a loop; return whether it goes on."""
        program = next(self._programs, Program())
        grants = self._begin(deliveries, is_halved=False)
        try:
            await self._act(program, deliveries, grants)
            self._fail_as(program, grants)
        except asyncio.CancelledError:
            self._cancelled(grants)
            raise
        except Poison as error:
            self._decide(_open(grants), "retry", f"Poison: {error}")
            raise
        finally:
            self._end(grants)
        self._decide(_open(grants), "release" if program.ends == "cancel" else "ack")
        return program.ends != "cancel"

    async def _handle(self, deliveries: Sequence[Delivery], *, is_halved: bool) -> None:
        task = asyncio.current_task()
        program = next(self._programs, Program())
        grants = self._begin(deliveries, is_halved=task in self._whole)
        whole = self._whole.setdefault(task, grants)
        try:
            await self._act(program, deliveries, grants)
            self._fail_as(program, grants)
            if program.ends == "cancel":
                _cancel_alone()
        except _OwnCancellation:
            self._decide(_open(whole), "release")
            raise
        except asyncio.CancelledError:
            self._cancelled(grants)
            self._decide(_open(whole), "release")
            raise
        except Poison as error:
            left = _open(grants)
            if not is_halved or len(left) == 1:
                self._decide(left, "retry", f"Poison: {error}")
            raise
        else:
            self._decide(_open(grants), "ack")
        finally:
            self._end(grants)

    def _fail_as(self, program: Program, grants: Sequence[Grant]) -> None:
        if program.ends == "raise":
            raise Poison(self._name(grants))

    async def _act(
        self, program: Program, deliveries: Sequence[Delivery], grants: Sequence[Grant]
    ) -> None:
        swallows = program.swallows
        for act in program.acts:
            try:
                for _ in range(act.turns):
                    await asyncio.sleep(0)
                if act.sleeps_s:
                    await asyncio.sleep(act.sleeps_s)
                if act.settles is not None:
                    await self._settle(act, deliveries, grants)
            except asyncio.CancelledError:
                self._cancelled(grants)
                if not swallows:
                    raise
                swallows = False

    async def _settle(
        self, act: Act, deliveries: Sequence[Delivery], grants: Sequence[Grant]
    ) -> None:
        if act.at is not None:
            place = act.at % len(deliveries)
            deliveries, grants = deliveries[place : place + 1], grants[place : place + 1]
        settling = self._settle_now(act, deliveries, grants)
        if act.is_awaited:
            await settling
        else:
            self._tasks.append(asyncio.create_task(settling))

    async def _settle_now(
        self, act: Act, deliveries: Sequence[Delivery], grants: Sequence[Grant]
    ) -> None:
        """Settle deliveries as a user would, and hold what comes of it against the promises."""
        settled: Delivery | Batch = deliveries[0] if act.at is not None else Batch(deliveries)
        former = [each.decision for each in grants]
        lost = [each for each in deliveries if each.is_lost]
        error = f"by {act.settles}" if act.settles in {"retry", "dead"} else None
        assert act.settles is not None
        if not lost:
            self._decide(_open(grants), act.settles, error)
        mine = [each for each, was in zip(grants, former, strict=True) if was is None]
        try:
            match act.settles:
                case "retry":
                    await settled.retry(after=act.after_s, error=error)
                case "dead":
                    await settled.dead(error)
                case "release":
                    await settled.release()
                case _:
                    await settled.ack()
        except AlreadySettled:
            with self._judge.watching():
                assert act.at is not None, "a batch settles what is left of it"
                assert former[0] not in {None, "behind"}, f"not settled before: {grants}"
        except LeaseLost:
            self._check_lost(grants)
        else:
            with self._judge.watching():
                assert former[0] in {None, "behind"} or act.at is None, f"twice: {grants}"
                missing = [each for each in mine if each.outcome is None]
                assert not missing, f"it is not durable: {missing}"

    def _begin(self, deliveries: Sequence[Delivery], *, is_halved: bool) -> list[Grant]:
        judge, consumer = self._judge, self._consumer
        grants = [judge.grants[id(each._delivered)] for each in deliveries]
        now_s = asyncio.get_running_loop().time()
        with judge.watching():
            assert len(grants) <= consumer.most
            assert consumer.calls < consumer.concurrency, "too many handlers at once"
            if consumer.stopped_s is not None and not is_halved:
                assert now_s <= consumer.stopped_s, "begun after it was stopped"
        consumer.calls += 1
        ahead: defaultdict[str, set[int]] = defaultdict(set)
        with judge.watching():
            for grant in grants:
                topic, offset = grant.place
                assert grant.lease.consumer is consumer
                assert grant.decision is None, f"handled again: {grant}"
                assert not grant.is_running, f"handled twice at once: {grant}"
                assert not grant.lease.is_refused, "handled although its lease is lost"
                if judge.keeps_order:
                    assert topic not in consumer.running, f"two handlers have {topic} at once"
                    judge.check_order(grant, ahead[topic])
                    ahead[topic].add(offset)
        for grant in grants:
            grant.is_running = True
        if judge.keeps_order:
            consumer.running.update({grant.place[0]: grants for grant in grants})
        return grants

    def _end(self, grants: Sequence[Grant]) -> None:
        self._consumer.calls -= 1
        for grant in grants:
            grant.is_running = False
            self._consumer.running.pop(grant.place[0], None)

    def _decide(self, grants: Sequence[Grant], decision: str, error: str | None = None) -> None:
        self._judge.decide(grants, decision, error)

    def _cancelled(self, grants: Sequence[Grant]) -> None:
        """Check that there is a reason for a cancellation."""
        if not self._consumer.is_disturbed:
            self._check_lost(grants)

    def _check_lost(self, grants: Sequence[Grant]) -> None:
        now_s = asyncio.get_running_loop().time()
        lease = grants[0].lease
        if self._consumer.is_over or self._consumer.gives_up:
            return
        with self._judge.watching():
            assert lease.may_be_lost(now_s, self._judge.now_us()), f"lost without cause: {grants}"

    @staticmethod
    def _name(grants: Sequence[Grant]) -> str:
        return f"of {grants[0].place}"


class _OwnCancellation(asyncio.CancelledError):
    """A handler cancels itself."""


def _open(grants: Sequence[Grant]) -> list[Grant]:
    return [each for each in grants if each.decision is None]


def _cancel_alone() -> NoReturn:
    raise _OwnCancellation
