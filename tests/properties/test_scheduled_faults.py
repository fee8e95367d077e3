"""Whatever fails when: acknowledged means stored, nothing is stored twice, in the end all lands.

Publishers send through the group commit to a real store whose transactions fail by a schedule
that Hypothesis draws. They send again until they are acknowledged, as publishers do.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.backends import Database
from support.observer import Observer
from support.scheduled import Fault, Kind, ScheduledFaults

from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.telemetry import FlushSpan
from storage.errors import OutcomeUnknown, StorageError
from storage.model import Event, Status, Verdict
from storage.protocols import EventStore

_LIMIT_S = 60.0

Breaking = Callable[[pytest.MonkeyPatch], None]

_EVENTS = st.builds(
    Event,
    topic=st.sampled_from(["a", "b"]),
    event_id=st.sampled_from(["1", "2", "3", "4", "5", "6"]),
    timestamp_us=st.just(0),
    source=st.just("shop"),
    payload=st.sampled_from(["{}", '{"n":1}', '{"n":1.0}']),
)


class Request(NamedTuple):
    """What is sent until it is acknowledged; the client hangs up `hang_ups` times before."""

    events: Sequence[Event]
    hang_ups: int = 0


_REQUESTS = st.builds(
    Request,
    events=st.lists(_EVENTS, min_size=1, max_size=4),
    hang_ups=st.sampled_from([0, 0, 0, 1, 2]),
)
_PUBLISHERS = st.lists(st.lists(_REQUESTS, min_size=1, max_size=3), min_size=1, max_size=4)
_SCHEDULES = st.lists(
    st.builds(
        Fault, kind=st.sampled_from(Kind), statement=st.integers(0, 5), slow=st.booleans()
    ),
    max_size=12,
)  # fmt: skip


class Run:
    """One example: publishers, a group commit that is replaced when it is stopped, faults."""

    def __init__(self, store: EventStore, max_flush_events: int) -> None:
        self._store = store
        self._max_flush_events = max_flush_events
        self._stop = asyncio.Event()
        self._started: list[GroupCommit] = []
        self._group_commit = self._start()

    def _start(self) -> GroupCommit:
        group_commit = GroupCommit(
            self._store,
            max_flush_events=self._max_flush_events,
            max_flush_bytes=10**6,
            on_flush=lambda _: None,
        )
        group_commit.start()
        self._started.append(group_commit)
        return group_commit

    async def publish_all(
        self, publishers: Sequence[Sequence[Request]], schedule: Sequence[Fault]
    ) -> ScheduledFaults:
        """Publish until everything is acknowledged; returns what was committed meanwhile."""
        async with ScheduledFaults(schedule, self._stop.set) as faults:
            restarts = asyncio.create_task(self._restart_when_stopped(faults))
            try:
                async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as group:
                    for requests in publishers:
                        group.create_task(self._publish(requests, faults))
            finally:
                restarts.cancel()
                await asyncio.gather(restarts, return_exceptions=True)
                # A stop may have been interrupted: nothing may go on into the next example.
                for group_commit in self._started:
                    await group_commit.drain(_LIMIT_S)
        assert not faults.committed_twice
        return faults

    async def _restart_when_stopped(self, faults: ScheduledFaults) -> None:
        while True:
            await self._stop.wait()
            self._stop.clear()
            await self._group_commit.drain(0)
            self._group_commit = self._start()
            faults.stop_is_done()

    async def _publish(self, requests: Sequence[Request], faults: ScheduledFaults) -> None:
        for request in requests:
            hang_ups = request.hang_ups
            while not await self._try(request.events, faults, hang_up=hang_ups > 0):
                hang_ups -= 1

    async def _try(
        self, events: Sequence[Event], faults: ScheduledFaults, *, hang_up: bool
    ) -> bool:
        """Send the events once; whether they were acknowledged."""
        # New objects, by which the faults tell one attempt from another.
        attempt = [replace(event) for event in events]

        async def wait() -> list[Verdict]:
            return await self._group_commit.submit(attempt, 1)

        submitted = asyncio.create_task(wait())
        if hang_up:
            await asyncio.sleep(0)
            submitted.cancel()
        await asyncio.wait([submitted])
        if submitted.cancelled() or isinstance(submitted.exception(), OutcomeUnknown):
            return False
        if isinstance(submitted.exception(), (StorageError, ShuttingDown)):
            stored = [event for event in attempt if faults.told(event)]
            assert not stored, f"refused ({submitted.exception()!r}), and yet stored: {stored}"
            return False
        _check_acknowledged(attempt, submitted.result(), faults)
        return True


def _check_acknowledged(
    attempt: Sequence[Event], verdicts: Sequence[Verdict], faults: ScheduledFaults
) -> None:
    assert len(verdicts) == len(attempt)
    for event, verdict in zip(attempt, verdicts, strict=True):
        told = (verdict.topic, verdict.event_id, verdict.status.value, verdict.offset)
        assert told == faults.told(event), "acknowledged, but not what was committed"


class Rig:
    """A store and an observer, opened once for all examples."""

    def __init__(self, store: EventStore, observer: Observer) -> None:
        self.store = store
        self._observer = observer

    async def check(
        self,
        publishers: Sequence[Sequence[Request]],
        schedule: Sequence[Fault],
        max_flush_events: int = 100,
    ) -> None:
        """Publish under these faults, then compare the database with what was committed."""
        await self._observer.empty()
        run = Run(self.store, max_flush_events)
        reference = (await run.publish_all(publishers, schedule)).reference
        snapshot = await self._observer.snapshot()
        snapshot.assert_sound()
        assert snapshot.counts == reference.counts()
        rows = [(r.topic, r.offset, r.event_id, 0, r.source, r.payload) for r in snapshot.rows]
        assert rows == reference.rows()
        sent = {
            (e.topic, e.event_id) for requests in publishers for r in requests for e in r.events
        }
        assert {(row.topic, row.event_id) for row in snapshot.rows} == sent


async def open_rig(database: Database, stack: AsyncExitStack) -> Rig:
    store = database.in_process_store(readers=1)
    stack.push_async_callback(store.aclose)
    await store.open()
    return Rig(store, await stack.enter_async_context(Observer.on(database)))


@pytest.mark.timeout(3600)
def test_under_any_faults_what_is_acknowledged_is_stored_once_and_in_the_end_everything_is(
    database: Database,
) -> None:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        rig = runner.run(open_rig(database, stack))

        @given(
            publishers=_PUBLISHERS,
            schedule=_SCHEDULES,
            max_flush_events=st.sampled_from([1, 4, 99]),
        )
        def holds(
            publishers: list[list[Request]], schedule: list[Fault], max_flush_events: int
        ) -> None:
            runner.run(rig.check(publishers, schedule, max_flush_events))

        try:
            holds()
        finally:
            runner.run(stack.aclose())


_ONE = [[Request([Event("a", "1", 0, "shop", "{}")])]]


@pytest.mark.parametrize("statement", range(6))
@pytest.mark.parametrize("kind", Kind)
async def test_each_kind_of_fault_before_each_statement_and_all_of_them_in_a_row(
    database: Database, kind: Kind, statement: int
) -> None:
    async with AsyncExitStack() as stack:
        rig = await open_rig(database, stack)
        await rig.check(_ONE, [Fault(kind, statement)] * 3)


def acknowledge_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The group commit answers, and stores afterwards."""
    store = GroupCommit._store_or_refuse

    async def early(self: GroupCommit, requests: list, span: FlushSpan | None) -> None:  # type: ignore[type-arg]
        for request in requests:
            verdicts = [Verdict(e.topic, e.event_id, Status.STORED, 1) for e in request.events]
            request.verdicts.set_result(verdicts)
        await asyncio.sleep(0)
        await store(self, requests, span)

    patch.setattr(GroupCommit, "_store_or_refuse", early)


def try_again_inside(patch: pytest.MonkeyPatch) -> None:
    """A COMMIT without an answer is simply tried again."""
    append = GroupCommit._append

    async def twice(self: GroupCommit, requests: list, span: FlushSpan | None) -> None:  # type: ignore[type-arg]
        try:
            await append(self, requests, span)
        except OutcomeUnknown:
            await append(self, requests, span)

    patch.setattr(GroupCommit, "_append", twice)


@pytest.mark.parametrize("broken", [acknowledge_before_the_commit, try_again_inside])
async def test_a_group_commit_with_a_known_mistake_is_caught(
    database: Database, monkeypatch: pytest.MonkeyPatch, broken: Breaking
) -> None:
    broken(monkeypatch)
    async with AsyncExitStack() as stack:
        rig = await open_rig(database, stack)
        with pytest.raises((ExceptionGroup, AssertionError)):
            await rig.check(_ONE, [Fault(Kind.ANSWER_LOST)])
