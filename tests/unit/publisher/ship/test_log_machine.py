"""A log that is written, rotated and cut short, and a reader of it that crashes: a line is once."""

import shutil
import tempfile
from collections import Counter, deque
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from unit.publisher.ship.writing import Writer

from publisher.ship.checkpoint import Checkpoint, Known
from publisher.ship.files import FollowedLogs
from publisher.ship.lineage import Line
from publisher.ship.lines import Splitter
from publisher.ship.log import Log
from publisher.ship.recognition import ROTATED_QUIET_S

MAX_PIECE_BYTES = 60


class Reader:
    """Follows a log with a checkpoint, and sends to an aggregator that it cannot hurry."""

    def __init__(self, path: Path, checkpoint: Path) -> None:
        self._opened = Checkpoint.opened(checkpoint, "target")
        self._checkpoint = self._opened.__enter__()
        self._logs = FollowedLogs([path], "app", self._checkpoint, MAX_PIECE_BYTES)
        self.under_way: deque[tuple[Log, Known, Line]] = deque()
        """What was read and not sent yet."""
        self.sent: deque[tuple[Log, Known, Line]] = deque()
        """What was sent, and is not acknowledged yet."""
        self.look()

    def look(self) -> None:
        self._logs.look()

    def read(self, now: float) -> bool:
        grown = False
        for log in self._logs:
            found = log.read(now)
            for generation, lines in [*([found] if found else []), *log.finished(now)]:
                for line in lines:
                    known = Known("app", generation.content, generation.identity, line.progress)
                    self.under_way.append((log, known, line))
            grown |= found is not None
        return grown

    def read_all(self, now: float) -> None:
        while self.read(now):
            pass

    def acknowledge(self, most: int) -> set[str]:
        """Save how far the first of what was sent is acknowledged; gives the ids of that."""
        behind: dict[str, tuple[Log, Known]] = {}
        ids = set()
        for _ in range(min(most, len(self.sent))):
            log, known, line = self.sent.popleft()
            behind[known.content] = log, known
            ids.add(line.line_id)
        self._checkpoint.save([known for _, known in behind.values()])
        for log, known in behind.values():
            log.note(known)
        return ids

    def crash(self) -> None:
        self._logs.close()
        self._opened.__exit__(None, None, None)


def cut(line: bytes) -> list[bytes]:
    splitter = Splitter(max_piece_bytes=MAX_PIECE_BYTES)
    return [piece.data + piece.eol for piece in splitter.feed(line) + splitter.finish()]


has_begun = precondition(lambda self: self.writer.has_begun)
is_up = precondition(lambda self: self.reader is not None)
ALL = 1_000_000
kinds_of_lines = st.sampled_from(["unique", "same", "same", "long"])


class LogMachine(RuleBasedStateMachine):
    """What is written, but for what was destroyed before anybody could read it, is stored once."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "logs" / "app.log"
        self.path.parent.mkdir()
        self.writer = Writer(self.path)
        self.now = 0.0
        self.reader: Reader | None = None
        self.has_backup = False
        self.stored: dict[str, bytes] = {}
        self.unacknowledged: set[str] = set()
        self.start()

    @property
    def running(self) -> Reader:
        assert self.reader is not None
        return self.reader

    @rule(
        kinds=st.lists(st.sampled_from(["unique", "same", "same", "long"]), min_size=1, max_size=4)
    )
    def write(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.writer.line(kind)

    @rule()
    def write_half(self) -> None:
        self.writer.begin_half()

    @has_begun
    @rule()
    def rename(self) -> None:
        self.writer.rename()

    @precondition(lambda self: self.writer.old_file is not None)
    @rule()
    def write_late(self) -> None:
        self.writer.late_line()

    @has_begun
    @rule()
    def copy_and_truncate(self) -> None:
        if self.reader is not None:
            # A log is looked at more often than it is rotated.
            self.look_and_read()
        self.writer.leave_half()
        self.writer.copy()
        self.writer.truncate()

    @precondition(lambda self: self.writer.has_begun and not self.writer.half)
    @rule()
    def copy(self) -> None:
        self.writer.copy()
        self.has_backup = True

    @precondition(lambda self: self.writer.has_begun and not self.writer.half)
    @is_up
    @rule(how=st.sampled_from(["truncate", "replace", "remove"]))
    def destroy(self, how: str) -> None:
        self.look_and_read()
        self.send(ALL)
        self.acknowledge(ALL)
        getattr(self.writer, how)()

    @rule()
    def rewrite(self) -> None:
        self.writer.rewrite()

    @is_up
    @rule()
    def look(self) -> None:
        self.now += 0.25
        self.running.look()

    @is_up
    @rule()
    def read(self) -> None:
        self.running.read(self.now)

    @is_up
    @rule()
    def look_and_read(self) -> None:
        self.look()
        self.running.read_all(self.now)

    @is_up
    @rule(most=st.integers(1, 6))
    def send(self, most: int) -> None:
        for _ in range(min(most, len(self.running.under_way))):
            log, known, line = self.running.under_way.popleft()
            content = line.piece.data + line.piece.eol
            assert self.stored.get(line.line_id, content) == content
            # What is sent again is what the checkpoint does not have, or what a copy may have.
            is_again = line.line_id in self.stored and line.line_id not in self.unacknowledged
            assert not is_again or self.writer.has_copied
            self.stored[line.line_id] = content
            self.unacknowledged.add(line.line_id)
            self.running.sent.append((log, known, line))

    @is_up
    @rule(most=st.integers(1, 6))
    def acknowledge(self, most: int) -> None:
        self.unacknowledged -= self.running.acknowledge(most)

    @is_up
    @rule()
    def grow_quiet(self) -> None:
        # What is written later still is found when the log is rotated or begun again.
        self.writer.old_file = None
        self.now += ROTATED_QUIET_S
        self.look_and_read()

    @is_up
    @rule()
    def crash(self) -> None:
        self.running.crash()
        self.reader = None

    @precondition(lambda self: self.reader is None)
    @rule()
    def start(self) -> None:
        self.reader = Reader(self.path, self.directory / "checkpoint")

    def teardown(self) -> None:
        try:
            self.writer.end_half()
            if self.reader is not None and self.has_backup:
                # What is late may be in one of two files that were the same: both are seen then.
                self.crash()
            if self.reader is None:
                self.start()
            self.look_and_read()
            self.grow_quiet()
            self.grow_quiet()
            self.send(ALL)
            written = Counter(piece for line in self.writer.lines for piece in cut(line))
            stored = Counter(self.stored.values())
            assert (written - stored, stored - written) == (Counter(), Counter())
        finally:
            if self.reader is not None:
                self.reader.crash()
            self.writer.close()
            shutil.rmtree(self.directory)


TestLog = LogMachine.TestCase
