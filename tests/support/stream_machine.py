"""Hypothesis: a machine of publishes, readers of streams, and what cuts them off."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from support.events import published
from support.neighbours import AGGREGATORS, Neighbours
from support.stream_beginnings import BEGINNINGS, begin
from support.stream_model import CheckedReader, Log
from support.talking import publish

T = TypeVar("T")

MAX_READERS = 4
LIMIT_S = 20.0

NAMES = ["a", "c.d", "b", "c.e", "c.e.f", "d.d"]
THERE = 2
"""So many of them have events before anybody reads."""
PATTERNS = ["*", "c.*", "**", "c.**", "*.d"]
SOURCES = ["common", "rare"]


def events_of(names: list[str]) -> st.SearchStrategy[dict[str, str]]:
    """Events of these topics that likely repeat another one's key."""
    return st.fixed_dictionaries(
        {
            "topic": st.sampled_from(names),
            "event_id": st.integers(0, 11).map(str),
            "source": st.sampled_from(SOURCES),
        }
    )


batches = st.lists(events_of(NAMES), min_size=1, max_size=6)
aggregators = st.integers(0, AGGREGATORS - 1)
beginnings = st.sampled_from(BEGINNINGS)
numbers = st.integers(0, 10**6)


class StreamMachine(RuleBasedStateMachine):
    """Two aggregators on a database and readers of both, beside the log that publishers know."""

    runs = itertools.count()
    """Topics are those of this run of the machine: aggregators are there for many of them."""

    faults: ClassVar[list[BaseException]] = []
    """What was found wrong."""

    def __init__(
        self, neighbours: Neighbours, runner: asyncio.Runner, reader: type[CheckedReader]
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
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

    @initialize(there=st.lists(events_of(NAMES[:THERE]), min_size=4, max_size=20))
    def begin_with_some_events(self, there: list[dict[str, str]]) -> None:
        self.prefix = f"t{next(self.runs)}."
        self.run(self._publish([there], [0]))

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

    @rule(one=st.sampled_from(NAMES), first=aggregators, number=numbers)
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
                publish(self.neighbours.clients[number], batch)
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
        number=numbers,
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
        self._begin(reader, at, how, number)

    @precondition(lambda self: len(self.readers) < MAX_READERS)
    @rule(
        name=st.sampled_from(NAMES),
        source=st.sampled_from([None, *SOURCES]),
        at=aggregators,
        how=beginnings,
        number=numbers,
    )
    def open_lines(
        self, name: str, source: str | None, at: int, how: str | None, number: int
    ) -> None:
        reader = self.make_reader(self.log, [self.prefix + name], source=source, lines=True)
        self._begin(reader, at, how, number)

    def _begin(self, reader: CheckedReader, at: int, how: str | None, number: int) -> None:
        self.run(begin(reader, self.log, self.neighbours.clients[at], how, number))
        self.readers.append(reader)
        self.run(self._open(reader, at))

    async def _open(self, reader: CheckedReader, at: int) -> None:
        topic = reader.wanted[0]
        gap = reader.begin.get("after", 0)
        expects_gap = reader.last_id is None and int(str(gap)) > self.log.head(topic)
        assert (
            await reader.open(self.neighbours.clients[at].session, self.neighbours.url(at)) == 200
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
    @rule(pick=st.integers(0, 3), one=st.sampled_from(NAMES), to=aggregators, number=numbers)
    def cut_in_the_midst_of_a_batch(self, pick: int, one: str, to: int, number: int) -> None:
        reader = self.readers[pick % len(self.readers)]
        batch = [
            {"topic": one, "event_id": f"{number}-{each}", "source": SOURCES[0]}
            for each in range(3)
        ]
        self.run(self._publish([batch], [to]))
        if reader.is_open:
            self.run(self._read(reader, max(0, reader.owed - 2)))
            reader.cut()
            self.run(self._open(reader, to))

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
        self.neighbours.end_lives(at)

    @rule(at=aggregators)
    def restart(self, at: int) -> None:
        self.run(self._restart(at))

    async def _restart(self, at: int) -> None:
        """Restart an aggregator; its readers read to the end of their answers."""
        url = self.neighbours.url(at)
        ended = [asyncio.create_task(self._read_to_the_end(each)) for each in self._readers_of(url)]
        await self.neighbours.restart(at)
        await asyncio.gather(*ended)

    def _readers_of(self, url: str) -> list[CheckedReader]:
        return [each for each in self.readers if each.is_open and each.url == url]

    async def _read_to_the_end(self, reader: CheckedReader) -> None:
        while reader.is_open:
            await reader.next()
