"""Readers of streams get every event once and in order, however they are cut off and go on."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.backends import Database
from support.events import published
from support.http import Client
from support.served import Served
from support.stream_model import CheckedReader, Log
from support.talking import publish, read_all
from support.trusting import trust_the_flush

from aggregator import app
from aggregator.app import create_app
from aggregator.live.ends import LIFETIME
from aggregator.live.followers import Followers
from aggregator.settings.model import Settings

T = TypeVar("T")

AGGREGATORS = 2
MAX_READERS = 4
LIMIT_S = 20.0

NAMES = ["a", "b", "c.d", "c.e", "c.e.f"]
PATTERNS = ["*", "c.*", "**", "c.**", "*.d"]
SOURCES = ["common", "rare"]

events = st.builds(
    lambda topic, event_id, source: {"topic": topic, "event_id": event_id, "source": source},
    st.sampled_from(NAMES),
    st.sampled_from([str(number) for number in range(12)]),
    st.sampled_from(SOURCES),
)
batches = st.lists(events, min_size=1, max_size=6)
aggregators = st.integers(0, AGGREGATORS - 1)
beginnings = st.sampled_from(["start", "now", "last", "after", "since", None])


class ReaderThatGoesByTime(CheckedReader):
    """It goes on behind the time at which its last event was stored."""

    def parameters(self) -> dict[str, object]:
        times = [event["ts_ingest"] for given in self.events.values() for event in given]
        return {"since": just_behind(max(times))} if times else self.begin

    def headers(self) -> dict[str, str]:
        return {}


def just_behind(time: str) -> str:
    return (datetime.fromisoformat(time) + timedelta(microseconds=1)).isoformat()


class Aggregators:
    """Aggregators on one database, each with a store of its own, in one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clients: list[Client] = []
        self.followers: list[Followers] = []

    async def start(self) -> None:
        for _ in range(AGGREGATORS):
            client, followers = await self._serve()
            self.clients.append(client)
            self.followers.append(followers)

    async def restart(self, number: int) -> None:
        # Its answers end before their connections do.
        await self.clients[number].server.close()
        await self.clients[number].close()
        self.clients[number], self.followers[number] = await self._serve()

    async def aclose(self) -> None:
        for client in self.clients:
            await client.close()

    def url(self, number: int) -> str:
        return str(self.clients[number].make_url("")).rstrip("/")

    async def _serve(self) -> tuple[Client, Followers]:
        made: list[Followers] = []

        def followers(**options: Any) -> Followers:
            made.append(Followers(**options))
            return made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "Followers", followers)
            configured = Settings.from_values(self._database.settings())
            served = Served(create_app(configured, self._database.in_process_store(readers=2)))
        client: Client = TestClient(served)
        await served.start_server(auto_decompress=False)
        await client.start_server()
        return client, made[0]


class StreamMachine(RuleBasedStateMachine):
    """Two aggregators on a database and readers of both, beside the log that publishers know."""

    numbers = itertools.count()
    """Topics are those of this run of the machine: aggregators are there for many of them."""

    faults: ClassVar[list[BaseException]] = []
    """What was found wrong."""

    def __init__(
        self, aggregators: Aggregators, runner: asyncio.Runner, reader: type[CheckedReader]
    ) -> None:
        super().__init__()
        self.aggregators = aggregators
        self.runner = runner
        self.make_reader = reader
        self.log = Log()
        self.readers: list[CheckedReader] = []
        self.failed = False

    def run(self, work: Coroutine[Any, Any, T], limit_s: float = LIMIT_S) -> T:
        async def limited() -> T:
            async with asyncio.timeout(limit_s):
                return await work

        try:
            return self.runner.run(limited())
        except BaseException as fault:
            self.failed = True
            self.faults.append(fault)
            raise

    @initialize()
    def begin(self) -> None:
        self.prefix = f"t{next(self.numbers)}."

    def teardown(self) -> None:
        try:
            if not self.failed:
                self.run(self._end())
        finally:
            for reader in self.readers:
                reader.cut()

    async def _end(self) -> None:
        """Everybody comes back, is given all that is there, and then what comes last."""
        for number, reader in enumerate(self.readers):
            await self._go_on(reader, number % AGGREGATORS)
        last = [{"topic": name, "event_id": "last", "source": SOURCES[0]} for name in NAMES]
        await self._publish([last], [0])
        for reader in self.readers:
            await self._catch_up(reader)

    # Publishing

    @rule(batch=batches, to=aggregators)
    def publish(self, batch: list[dict[str, str]], to: int) -> None:
        self.run(self._publish([batch], [to]))

    @rule(both=st.lists(batches, min_size=2, max_size=4))
    def publish_through_all_at_once(self, both: list[list[dict[str, str]]]) -> None:
        self.run(self._publish(both, itertools.cycle(range(AGGREGATORS))))

    @rule(one=st.sampled_from(NAMES), first=aggregators, number=st.integers(0, 10**6))
    def publish_to_a_topic_through_one_after_the_other(
        self, one: str, first: int, number: int
    ) -> None:
        for each in range(3):
            event = {"topic": one, "event_id": f"{number}-{each}", "source": SOURCES[0]}
            self.run(self._publish([[event]], [(first + each) % AGGREGATORS]))

    async def _publish(self, batches: list[list[dict[str, str]]], to: Any) -> None:
        sent = [
            [published(**event | {"topic": self.prefix + event["topic"]}) for event in batch]
            for batch in batches
        ]
        answers = await asyncio.gather(
            *(
                publish(self.aggregators.clients[number], batch)
                for batch, number in zip(sent, to, strict=False)
            )
        )
        self.log.note(
            itertools.chain(*sent), itertools.chain(*(answer["results"] for answer in answers))
        )

    # Reading

    @precondition(lambda self: len(self.readers) < MAX_READERS)
    @rule(
        names=st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
        patterns=st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True),
        source=st.sampled_from([None, None, *SOURCES]),
        at=aggregators,
        how=beginnings,
        number=st.integers(0, 10**6),
    )
    def open(
        self,
        names: list[str],
        patterns: list[str],
        source: str | None,
        at: int,
        how: str | None,
        number: int,
    ) -> None:
        wanted = [self.prefix + each for each in names + patterns] or [self.prefix + NAMES[0]]
        reader = self.make_reader(self.log, wanted, source=source)
        self.run(self._begin(reader, how, number))
        self.readers.append(reader)
        self.run(self._open(reader, at))

    @precondition(lambda self: len(self.readers) < MAX_READERS)
    @rule(
        name=st.sampled_from(NAMES),
        source=st.sampled_from([None, *SOURCES]),
        at=aggregators,
        how=beginnings.filter(lambda how: how != "last"),
        number=st.integers(0, 10**6),
    )
    def open_lines(
        self, name: str, source: str | None, at: int, how: str | None, number: int
    ) -> None:
        reader = self.make_reader(self.log, [self.prefix + name], source=source, lines=True)
        # Above the head there are no lines, and nothing to follow.
        self.run(self._begin(reader, how, number % (self.log.head(reader.wanted[0]) + 1)))
        self.readers.append(reader)
        self.run(self._open(reader, at))

    async def _begin(self, reader: CheckedReader, how: str | None, number: int) -> None:
        """Choose where it begins, and note behind which offsets that is."""
        heads = {topic: self.log.head(topic) for topic in reader.topics}
        match how:
            case "start":
                reader.begin = {"from": "start"}
            case "last" if not reader.lines:
                reader.begin = {"last": 1 + number % 5}
                reader.floors = {t: max(0, head - 1 - number % 5) for t, head in heads.items()}
            case "after" if len(reader.wanted) == 1 and "*" not in reader.wanted[0]:
                topic = reader.wanted[0]
                head = self.log.head(topic)
                after = number % (head + (1 if reader.lines else 3))
                reader.begin = {"after": after}
                reader.floors = {topic: min(after, head)}
            case "since":
                await self._begin_since(reader, number)
            case _ if reader.lines:
                # From the start, unless it is told otherwise.
                pass
            case _:
                reader.begin = {} if how is None else {"from": "now"}
                reader.floors = heads

    async def _begin_since(self, reader: CheckedReader, number: int) -> None:
        times = {
            topic: [
                event["ts_ingest"]
                for event in await read_all(self.aggregators.clients[0], topic=topic, after=0)
            ]
            for topic in reader.topics
        }
        all_times = sorted(itertools.chain(*times.values())) or ["2026-01-31T12:00:00Z"]
        time = all_times[number % len(all_times)]
        reader.begin = {"since": time}
        # What is stored later is behind it in any case.
        reader.floors = {topic: sum(each < time for each in of) for topic, of in times.items()}

    async def _open(self, reader: CheckedReader, at: int) -> None:
        topic = reader.wanted[0]
        gap = reader.begin.get("after", 0)
        expects_gap = reader.last_id is None and int(str(gap)) > self.log.head(topic)
        assert (
            await reader.open(self.aggregators.clients[at].session, self.aggregators.url(at)) == 200
        )
        if reader.lines:
            return
        block = await reader.next()
        assert block is not None
        assert (block.event == "gap") == expects_gap
        if expects_gap:
            head = self.log.head(topic)
            gap_told = {"from": head + 1, "to": gap, "reason": "head_is_lower", "head": head}
            assert block.data == {"topic": topic, **gap_told}

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 3), count=st.integers(1, 8))
    def read(self, pick: int, count: int) -> None:
        reader = self.readers[pick % len(self.readers)]
        if reader.is_open:
            self.run(self._read(reader, min(count, reader.owed)))

    async def _read(self, reader: CheckedReader, count: int) -> None:
        enough = reader.count + count
        while reader.count < enough and reader.is_open:
            await reader.next()

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 3), count=st.integers(0, 4), more=st.integers(0, 300))
    def cut(self, pick: int, count: int, more: int) -> None:
        reader = self.readers[pick % len(self.readers)]
        if reader.is_open:
            self.run(self._read(reader, min(count, reader.owed)))
            reader.cut(more)

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 3), at=aggregators)
    def go_on(self, pick: int, at: int) -> None:
        reader = self.readers[pick % len(self.readers)]
        if not reader.is_open:
            self.run(self._open(reader, at))

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 3), at=aggregators, more=st.sampled_from(NAMES + PATTERNS))
    def go_on_with_one_more(self, pick: int, at: int, more: str) -> None:
        reader = self.readers[pick % len(self.readers)]
        # The position of one topic is none of several.
        if reader.is_open or reader.lines or reader.last_id is None:
            return
        if reader.last_id.startswith("@") and self.prefix + more not in reader.wanted:
            reader.wanted.append(self.prefix + more)
            self.run(self._open(reader, at))

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 3), at=aggregators)
    def catch_up(self, pick: int, at: int) -> None:
        self.run(self._go_on(self.readers[pick % len(self.readers)], at))

    async def _go_on(self, reader: CheckedReader, at: int) -> None:
        if not reader.is_open:
            await self._open(reader, at)
        await self._catch_up(reader)

    async def _catch_up(self, reader: CheckedReader) -> None:
        """Read until all is there; an answer that ends meanwhile is gone on with."""
        while not reader.complete:
            if not reader.is_open:
                await self._open(reader, 0)
            else:
                await reader.next()

    # What ends streams

    @rule(at=aggregators)
    def end_lives(self, at: int) -> None:
        for follower in list(self.aggregators.followers[at]._open):
            follower.stop(LIFETIME)

    @rule(at=aggregators)
    def restart(self, at: int) -> None:
        self.run(self._restart(at))

    async def _restart(self, at: int) -> None:
        """Restart an aggregator; its readers read to the end of their answers."""
        url = self.aggregators.url(at)
        ended = [asyncio.create_task(self._read_to_the_end(each)) for each in self._readers_of(url)]
        await self.aggregators.restart(at)
        await asyncio.gather(*ended)

    def _readers_of(self, url: str) -> list[CheckedReader]:
        return [each for each in self.readers if each.is_open and each.url == url]

    async def _read_to_the_end(self, reader: CheckedReader) -> None:
        while reader.is_open:
            await reader.next()


@contextmanager
def run_on(database: Database, reader: type[CheckedReader] = CheckedReader) -> Iterator[Any]:
    """What runs the machine, with aggregators that are there for all of its runs."""
    aggregators = Aggregators(database)
    StreamMachine.faults.clear()
    with asyncio.Runner() as runner:
        runner.run(aggregators.start())
        try:
            yield lambda: StreamMachine(aggregators, runner, reader)
        finally:
            runner.run(aggregators.aclose())


@pytest.mark.timeout(3600)
def test_readers_get_every_event_once_and_in_order_however_they_are_cut_off(
    database: Database,
) -> None:
    with run_on(database) as machine:
        run_state_machine_as_test(
            machine, settings=settings(max_examples=settings().max_examples * 3 // 5)
        )


def find_a_fault(database: Database, reader: type[CheckedReader] = CheckedReader) -> None:
    """Run the machine until it finds that events are missed, doubled or out of order."""
    found = settings(max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    # How requests fall together differs each time, and what is found with it; hence the other one.
    with run_on(database, reader) as machine, pytest.raises((AssertionError, FlakyFailure)):
        run_state_machine_as_test(machine, settings=found)
    assert StreamMachine.faults
    assert all(isinstance(fault, AssertionError) for fault in StreamMachine.faults)


def test_a_reader_that_goes_by_time_is_found_out(database: Database) -> None:
    find_a_fault(database, ReaderThatGoesByTime)


def test_a_stream_that_trusts_the_flush_is_found_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_the_flush(monkeypatch)
    find_a_fault(database)
