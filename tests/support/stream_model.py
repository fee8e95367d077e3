"""What readers of streams must be given, by the verdicts of publishes, without our code."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from support.blocks import Block
from support.following import FollowingReader


class Stored(NamedTuple):
    """An event of the log, as far as readers are checked by it."""

    event_id: str
    source: str


class Log:
    """The events by topic in the order of their offsets, as publishers were told."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Stored]] = {}

    def head(self, topic: str) -> int:
        """The head offset of a topic."""
        return len(self.topics.get(topic, []))

    def note(self, sent: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> None:
        """Take in the verdicts of one publish, or of several that were under way together."""
        pairs = list(zip(sent, results, strict=True))
        # What is stored is ahead of what another request was told of it.
        pairs.sort(key=lambda pair: (pair[1]["offset"], pair[1]["status"] != "stored"))
        for event, result in pairs:
            assert (event["topic"], event["event_id"]) == (result["topic"], result["event_id"])
            log = self.topics.setdefault(result["topic"], [])
            if result["status"] == "stored":
                log.append(Stored(event["event_id"], event["source"]))
                assert result["offset"] == len(log)
            else:
                assert log[result["offset"] - 1].event_id == result["event_id"]


def fits(wanted: str, topic: str) -> bool:
    """Whether a topic is the one of a name, or fits a pattern."""
    parts, pattern = topic.split("."), wanted.split(".")
    if pattern[-1] == "**":
        parts, pattern = parts[: len(pattern) - 1], pattern[:-1]
        if len(topic.split(".")) <= len(pattern):
            return False
    return len(parts) == len(pattern) and all(
        want in {"*", part} for want, part in zip(pattern, parts, strict=True)
    )


class CheckedReader(FollowingReader):
    """A reader of which every block is checked as it comes.

    Args:
        log: what it is checked by.
        options: see `FollowingReader`.
    """

    def __init__(self, log: Log, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._log = log
        self.floors: dict[str, int] = {}
        """The offsets behind which it has begun; a topic that is not named begins at its start."""
        self._first = True
        """Whether the answer has had no block yet."""
        self._heads: dict[str, int] = {}
        """The head offsets when the answer was asked for."""

    async def open(self, *arguments: Any) -> int:
        """See `FollowingReader`."""
        self._first = True
        self._heads = {topic: self._log.head(topic) for topic in self.topics}
        return await super().open(*arguments)

    @property
    def topics(self) -> list[str]:
        """The topics that it follows, of those that are there."""
        return [
            topic for topic in self._log.topics if any(fits(each, topic) for each in self.wanted)
        ]

    def expected(self, topic: str, last: int | None = None) -> list[int]:
        """The offsets that it must be given of a topic, all of them or up to one of them."""
        log = self._log.topics.get(topic, [])[:last]
        return [
            offset
            for offset, stored in enumerate(log, start=1)
            if offset > self.floors.get(topic, 0) and self.source in {None, stored.source}
        ]

    @property
    def owed(self) -> int:
        """Number of events that it was not given yet."""
        return sum(len(self.expected(topic)) - len(self.offsets(topic)) for topic in self.topics)

    @property
    def complete(self) -> bool:
        """Whether it was given all that is there, and was told so."""
        return self.owed == 0 and (self.lines or self.caught_up)

    def take(self, block: Block) -> None:
        """See `FollowingReader`; fails the test if the block is not the right one."""
        super().take(block)
        self._check_first(block)
        if block.event == "message":
            self._check_event(block.data)
        if block.id is not None:
            self._check_position(block.id)
        if block.event == "caught-up":
            self._check_heads(block.data)

    def _check_first(self, block: Block) -> None:
        if self._first and not self.lines:
            assert block.text.startswith("retry: 1000\n")
            assert block.event in {"gap", "caught-up", "position"}
            assert block.id is not None
        self._first = False

    def _check_event(self, event: Mapping[str, Any]) -> None:
        topic, offset = event["topic"], event["offset"]
        assert any(fits(each, topic) for each in self.wanted), event
        given = self.offsets(topic)
        assert given == self.expected(topic, offset), f"{topic}: {given}"
        stored = self._log.topics[topic][offset - 1]
        assert (event["event_id"], event["source"]) == stored

    def _check_position(self, position: str) -> None:
        """Whoever goes on behind it misses nothing and is given nothing twice."""
        offsets = self._offsets_of(position)
        for topic in self.topics:
            offset = offsets.get(topic, 0)
            given = self.offsets(topic)
            assert offset <= self._log.head(topic), position
            assert offset >= self.floors.get(topic, 0), position
            assert given == self.expected(topic, offset), f"{topic}: {given} at {position}"

    def _offsets_of(self, position: str) -> dict[str, int]:
        if not position.startswith("@"):
            return {self.wanted[0]: int(position)}
        pairs = [each.rsplit(":", 1) for each in position[1:].split(",") if each]
        return {topic: int(offset) for topic, offset in pairs}

    def _check_heads(self, heads: Mapping[str, int]) -> None:
        # Whoever reads what is there, and no more, stops here.
        assert all(heads.get(topic, 0) >= head for topic, head in self._heads.items()), heads
        for topic, head in heads.items():
            assert head <= self._log.head(topic)
            assert self.offsets(topic) == self.expected(topic, head)
