"""What the machine of logs and shipper knows, and what its rules are made of."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import currently_in_test_context
from hypothesis import note as note_in_test
from hypothesis.stateful import RuleBasedStateMachine

from publisher.ship.files.watch import Changes
from support.ship_aggregator import StoredLines
from support.ship_judge import Judge
from support.ship_shipper import Clock, Shipper
from support.ship_world import ModelContent, ModelFile, World

APP = "app.log"
PATTERNS = {
    "path": (APP,),
    "pattern": ("app*",),
    "deep": ("app*", "old/app*"),
}
LINES: dict[str, Callable[[int], bytes]] = {
    "unique": lambda number: b"%d\n" % number,
    "other": lambda number: b"line %d is here\n" % number,
    "same": lambda _: b"same\n",
    "constant": lambda _: b"a line of sixteen\n",
    "cr": lambda number: b"cr %d\r\n" % number,
    "long": lambda number: b"long %d " % number + b"x" * 40 + b"\n",
    "longest": lambda number: b"%019d\r\n" % number,
    "half": lambda number: b"half %d " % number,
    "blank": lambda _: b"\n",
}
HEADING = b"# a heading that each file has\n# and its second line\n"
EVERYTHING_S = 5.0
"""After so long a watch tells that everything may have changed."""


def note(text: str) -> None:
    """Tell what was done when an example is shown; a test without Hypothesis may take steps too."""
    if currently_in_test_context():
        note_in_test(text)


class ShipMachineState(RuleBasedStateMachine):
    """The files, the shipper, and what a model made of docs/use/ship.md knows of them."""

    world: World
    stored: StoredLines
    judge: Judge
    names: list[Path]
    """The paths and patterns that are shipped."""
    writer: ModelFile
    """Where the next line goes."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptors = psutil.Process().num_fds()
        self.clock = Clock()
        self.base = Path(tempfile.mkdtemp(prefix="ship-machine-"))
        self.shipper: Shipper | None = None
        self.lines = 0
        self.host = "one"
        self.checkpoint = self.base / "checkpoint"
        self.has_checkpoint = True
        self.everything_s = 0.0
        self._looks = 0
        self.is_exact = False
        self.keeps = True
        """Whether the checkpoint and the host stay as they are."""
        self.appends = True
        self.offset = 0
        self.numbers = 0
        self.copies: list[tuple[ModelFile, ModelFile, float]] = []

    @property
    def _up(self) -> Shipper:
        assert self.shipper is not None
        return self.shipper

    def _path(self, name: str) -> Path:
        return self.world.logs / name

    def _at(self, name: str) -> ModelFile:
        file = self.world.at(self._path(name))
        assert file is not None
        return file

    def _closed_files(self) -> list[Path]:
        """Return the plain files that are rotated."""
        return sorted(
            path
            for file in self.world.files
            for path in file.names
            if not file.suffix
            and path != self._path(APP)
            and len(file.names) == 1
            and file is not self.writer
            and file.content.data
            and "far" not in path.parts
        )

    def _half_archives(self) -> list[ModelFile]:
        return [file for file in self.world.files if not file.whole and file.names]

    def _write_to(self, file: ModelFile | None) -> None:
        if file is None or file is not self.writer:
            self.offset = 0
        if file is not None:
            self.writer = file

    def _rename(self, old: Path, new: Path) -> None:
        note(f"rename {old.name} to {os.path.relpath(new, self.base)}")
        self.world.rename(old, new)
        moved = self.world.at(new)
        assert moved is not None
        content = moved.content
        # With another name it has not lost its own, as far as can be seen.
        is_alone = self.world.visible(moved) in ([], [new])
        if content.data and is_alone and (content.seen or self._is_known(content)):
            content.renamed = True

    def _delete(self, path: Path) -> None:
        note(f"delete {path.name}")
        self.world.delete(path)

    def _copy(self, file: ModelFile, path: Path, *, times: bool) -> ModelFile:
        copied = self.world.copy(file, path, times=times)
        copied.content.again = "it is a copy beside what it is one of"
        note(f"copy {file.content.number} to {path.name}, {copied.content.number}")
        self._look_at_files()
        return copied

    def _pass(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.world.now_s = self.clock.now_s

    def _wake(self) -> None:
        if not self._up.waits:
            return
        world = self.world
        changes = Changes(
            not self.is_exact or world.changed_names or self.clock.now_s >= self.everything_s,
            {path for path in world.changed_files if world.shipped(path)},
        )
        world.changed_names, world.changed_files = False, set()
        if changes.names_changed:
            self.everything_s = self.clock.now_s + EVERYTHING_S
        self._up.wake(changes)

    def _settle(self, seconds: float) -> None:
        self._work()
        end = self.clock.now_s + seconds
        while self.clock.now_s < end:
            self._pass(max(self._up.wait_s, 0.5))
            self._wake()
            self._work()
        self._look_at_files()

    def _work(self) -> None:
        has_looked = self._looks
        self._up.work()
        if self._looks == has_looked:
            return
        for content in self.world.contents:
            if content.seen and len(content.data) == self.judge.covered(content):
                content.settled_bytes = len(content.data)

    def _start(self, checkpoint: Path | None, *, follows: bool) -> None:
        note(f"start on {self.host}, {checkpoint}, follows: {follows}")
        for content in self.world.contents:
            content.seen = content.read = False
        self.has_checkpoint = checkpoint is not None
        self.shipper = Shipper(
            self.names,
            checkpoint,
            self.host,
            self.clock,
            self.stored,
            self._told,
            self._before_look,
            self._after_read,
            follows=follows,
        )
        self.world.changed_names = True

    def _told(self, sentence: str) -> None:
        note(f"told: {sentence}")
        self.judge.sentences.append(sentence)

    def _is_down_now(self) -> None:
        self.shipper = None
        for content in self.world.contents:
            content.seen = content.read = False
            content.renamed = content.renamed and self._is_known(content)
            if content.may_be_lost and not self._is_known(content):
                content.exempt = "it was killed before it could say so"
        self._look_at_files()

    def _is_known(self, content: ModelContent) -> bool:
        """Tell whether something of a content was sent in this life of the checkpoint."""
        return self.judge.lives in content.read_lives and self.judge.is_begun(content)

    def _before_look(self) -> None:
        note("look")
        self._looks += 1
        self._look_at_files()
        for each in self.judge.truncations:
            if each.seen_bytes is None:
                each.seen_bytes = len(each.new.data)
        for file in self.world.files:
            content = file.content
            if not content.data:
                continue
            paths = self.world.visible(file)
            if paths or (self.world.is_near(file) and self._is_known(content)):
                content.seen = True
            # What lies beside a log may have been that log while nobody looked (10).
            was_log = [self._path(APP)] if self.world.is_near(file) else []
            if (paths or was_log) and (not self.has_checkpoint or not self._is_known(content)):
                path = os.fspath((paths or was_log)[0]).removesuffix(file.suffix)
                content.begun.add((self.host, path, self.judge.lives))

    def _after_read(self, key: tuple[int, int]) -> None:
        for file in self.world.files:
            if file.fd >= 0:
                status = os.fstat(file.fd)
                if (status.st_dev, status.st_ino) == key:
                    file.content.read = True
                    file.content.read_lives.add(self.judge.lives)

    def _look_at_files(self) -> None:
        """Take in which contents can't be found any more."""
        world = self.world
        for file in [each for each in world.files if not each.names and each is not self.writer]:
            if self.shipper is None or not file.content.seen:
                world.forget(file)
        world.see_what_is_hidden()
        for content in world.contents:
            if content.data and not content.exempt and not content.may_be_lost:
                self._look_at(content)

    def _look_at(self, content: ModelContent) -> None:
        world = self.world
        own = [file for file in world.files if file.content is content]
        is_open = self.shipper is not None and content.seen and bool(own)
        if is_open or any(world.visible(file) for file in own):
            return
        # Of what was emptied before its first byte was read, nobody knows what it was.
        known = self._is_known(content) or (self.shipper is not None and content.read)
        holders = [file for file in world.holders(content) if world.is_near(file)]
        emptied = any(each.old is content for each in self.judge.truncations)
        near = [file for file in holders if file in own or emptied or file.suffix]
        if near and known:
            return
        if content.copy_of is not None:
            content.exempt = "it is a copy"
        elif known:
            content.may_be_lost = "no file has it"
        else:
            content.exempt = "it was never known"
        note(f"{content.number}: {content.exempt or content.may_be_lost}")
