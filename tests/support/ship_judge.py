"""The judge of the shipper: what is stored, held against what was written and done to files."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from support.ship_aggregator import StoredLines
from support.ship_world import SUFFIXES, ModelContent, World

_PLACE = re.compile(r"byte ([\d,]+)")


@dataclass
class Truncation:
    """A file that was emptied, and what it held before and after."""

    old: ModelContent
    new: ModelContent
    seen_bytes: int | None = None
    """How much the new content had when the shipper looked for the first time."""


@dataclass
class Judge:
    """Knows what has to be stored, and how often it may be.

    Args:
        world: the files.
        stored: the aggregator.
        head_bytes, tail_bytes: as contents are known by.
        hole_bytes: so many NULs at the start of a content are skipped.
    """

    world: World
    stored: StoredLines
    head_bytes: int
    tail_bytes: int
    hole_bytes: int
    sentences: list[str] = field(default_factory=list)
    truncations: list[Truncation] = field(default_factory=list)
    lives: int = 0
    """How many checkpoints there were before this one, and runs without any."""
    clones: int = 0

    def check(self) -> None:
        """Check all, when everything is settled.

        Raises:
            AssertionError: a line is missing and nobody said so, or stored too often.
        """
        unknowable = self._unknowable()
        required: defaultdict[bytes, int] = defaultdict(int)
        for content in self.world.contents:
            if content in unknowable:
                continue
            self._check_stored(content)
            if not content.exempt and not content.may_be_lost and content.copy_of is None:
                for end in self._ends(content):
                    stored = bytes(content.data[:end])
                    # What came late may have completed the last line.
                    if content.cutoff is None or stored.endswith(b"\n"):
                        required[stored] += 1
        for stored, number in required.items():
            found = len(self.stored.streams.get(stored, ()))
            wanted = 1 if self.lives or unknowable else number
            assert found >= wanted, f"{stored!r} is stored {found} times, {number} have it"
        if not unknowable:
            self._check_not_too_often()

    def covered(self, content: ModelContent) -> int:
        """Return how many bytes of a content are stored, from its start on."""
        data = bytes(content.data)
        return max((len(each) for each in self.stored.streams if data.startswith(each)), default=0)

    def is_begun(self, content: ModelContent) -> bool:
        """Tell whether something of a content is certainly stored, and of this one."""
        covered = self.covered(content)
        return bool(covered) and not self._may_be_unsent(content, covered)

    def _check_stored(self, content: ModelContent) -> None:
        ends = self._ends(content)
        covered = self.covered(content)
        if not ends or covered >= ends[-1] or content.exempt:
            return
        if not self._is_visible(content) and self._may_be_unsent(content, covered):
            return
        lost = f"{bytes(content.data)!r} of {sorted(content.names)} is stored up to {covered}"
        assert content.may_be_lost, f"{lost}, and must be up to {ends[-1]}"
        told = [
            sentence
            for sentence in self.sentences
            if any(
                repr(_plain(name)) in sentence or repr(name) in sentence for name in content.names
            )
        ]
        places = [
            int(place.replace(",", "")) for sentence in told for place in _PLACE.findall(sentence)
        ]
        assert any(place <= covered for place in places), (
            f"{lost}, which may be, as {content.may_be_lost}, but that was not said: {told}"
        )

    def _may_be_unsent(self, content: ModelContent, covered: int) -> bool:
        """Tell whether what is stored may be of others that begin alike, and nothing of it."""
        if not covered:
            return False
        stored = bytes(content.data[:covered])
        alike = [each for each in self.world.contents if each.data.startswith(stored)]
        return len(self.stored.streams.get(stored, ())) < len(alike)

    def _is_visible(self, content: ModelContent) -> bool:
        return any(
            file.content is content and file.whole and self.world.visible(file)
            for file in self.world.files
        )

    def _ends(self, content: ModelContent) -> list[int]:
        """Return the ends of the lines that have to be stored."""
        data = bytes(content.data)
        visible = self._is_visible(content)
        if not visible and content.cutoff is not None:
            data = data[: content.cutoff]
        if content.copy_of is not None and not visible:
            return []
        first = len(data) - len(data.lstrip(b"\0"))
        if first == len(data):
            return []
        start = first if first >= self.hole_bytes else 0
        ends = [place + 1 for place in range(start, len(data)) if data[place] == ord("\n")]
        is_over = (not visible and content.cutoff is None) or content.renamed
        if is_over and len(data) > (ends[-1] if ends else start):
            ends.append(len(data))
        return ends

    def _unknowable(self) -> set[ModelContent]:
        """Return the contents of which nobody can tell where one ends and the next begins."""
        found: set[ModelContent] = set()
        for each in self.truncations:
            old, new = bytes(each.old.data), bytes(each.new.data)
            grown = len(new) if each.seen_bytes is None else each.seen_bytes
            for place in range(1, min(len(old), grown) + 1):
                head, tail = min(place, self.head_bytes), max(place - self.tail_bytes, 0)
                if old[:head] == new[:head] and old[tail:place] == new[tail:place]:
                    found |= {each.old, each.new}
                    found |= {
                        content for content in self.world.contents if content.copy_of in found
                    }
                    break
        return found

    def _check_not_too_often(self) -> None:
        for content, streams in self.stored.streams.items():
            holders = [each for each in self.world.contents if each.data.startswith(content)]
            assert holders, f"{content!r} was never written"
            # What is lost may be all that another one begins with: then that may be it.
            lost = [
                each
                for each in self.world.contents
                if (each.may_be_lost or (each.exempt and each.begun))
                and each not in holders
                and self._is_begun_by(each, content)
            ]
            allowed = sum(map(self._times, holders)) + len(lost)
            assert len(streams) <= allowed, (
                f"{content!r} is stored {len(streams)} times, not at most {allowed} times"
            )

    def _is_begun_by(self, lost: ModelContent, content: bytes) -> bool:
        sent = bytes(lost.data[: self.covered(lost)]).rpartition(b"\n")[0]
        return len(sent) > 0 and content.startswith(sent)

    def _times(self, content: ModelContent) -> int:
        """Return how often a content may be stored."""
        original = content.copy_of
        is_followed = original is not None and not (original.exempt or original.may_be_lost)
        if is_followed and not content.again and not self.lives:
            # What lies beside a log may have been that log while nobody looked (10).
            return int(not all(self.world.shipped(Path(name)) for name in content.names))
        alike = any(
            other is not content
            and other.first_line == content.first_line
            and {path for _, path, _ in other.begun} & {path for _, path, _ in content.begun}
            for other in self.world.contents
        )
        if alike:
            begun = len(content.begun)
        else:
            begun = len({(host, path) for host, path, _ in content.begun})
        return max(begun, 1) + self.clones + content.moves


def _plain(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name
