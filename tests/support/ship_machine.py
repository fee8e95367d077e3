"""Hypothesis: a machine of those who write logs, those who rotate them, and the shipper."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import currently_in_test_context
from hypothesis import note as note_in_test
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from publisher.ship.files.watch import Changes
from support.ship_aggregator import StoredLines
from support.ship_judge import Judge, Truncation
from support.ship_shipper import (
    HEAD_BYTES,
    HOLE_BYTES,
    TAIL_BYTES,
    Clock,
    Shipper,
)
from support.ship_world import QUIET_S, SUFFIXES, ModelContent, ModelFile, World

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
_SETTLED_S = 40.0
_lines = st.lists(st.sampled_from(sorted(LINES)), min_size=1, max_size=4)
_few = st.lists(st.sampled_from(sorted(LINES)), max_size=2)
_is_up = precondition(lambda self: self.shipper is not None)
_is_down = precondition(lambda self: self.shipper is None)
_has_app = precondition(lambda self: self.world.at(self.world.logs / APP) is not None)


def note(text: str) -> None:
    """Tell what was done when an example is shown; a test without Hypothesis may take steps too."""
    if currently_in_test_context():
        note_in_test(text)


class ShipMachine(RuleBasedStateMachine):
    """Files are written, rotated and shipped, and the judge looks at what has become of them."""

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

    @initialize(
        kind=st.sampled_from(sorted(PATTERNS)),
        is_exact=st.booleans(),
        appends=st.sampled_from([True, True, False]),
        keeps=st.sampled_from([True, True, True, False]),
        kinds=_few,
    )
    def begin(
        self, kind: str, is_exact: bool, appends: bool, keeps: bool, kinds: list[str]
    ) -> None:
        self.world = World(self.base, PATTERNS[kind])
        self.world.now_s = self.clock.now_s
        self.stored = StoredLines(HOLE_BYTES)
        self.judge = Judge(self.world, self.stored, HEAD_BYTES, TAIL_BYTES, HOLE_BYTES)
        logs = self.world.logs
        self.names = [logs / pattern for pattern in PATTERNS[kind]]
        self.is_exact, self.appends, self.keeps = is_exact, appends, keeps
        self.writer = self.world.create(logs / APP)
        self._write(kinds, alike=True)
        self._start(self.checkpoint, follows=True)

    # The writer.

    @rule(kinds=_lines, alike=st.booleans())
    def write(self, kinds: list[str], alike: bool) -> None:
        self._write(kinds, alike=alike)

    @_is_up
    @rule(kinds=_lines, alike=st.booleans(), steps=st.integers(1, 12))
    def write_and_read(self, kinds: list[str], alike: bool, steps: int) -> None:
        self._write(kinds, alike=alike)
        self._wake()
        self._up.read_on(steps)

    @_is_up
    @rule(kinds=_lines, alike=st.booleans())
    def write_and_work(self, kinds: list[str], alike: bool) -> None:
        self._write(kinds, alike=alike)
        self._wake()
        self._work()

    def _write(self, kinds: list[str], *, alike: bool = False) -> None:
        if not kinds:
            return
        content = self.writer.content
        data = HEADING if alike and not content.data else b""
        for kind in kinds:
            self.lines += 1
            data += LINES[kind](self.lines)
        self.world.write(self.writer, data, appends=self.appends, offset=self.offset)
        self.offset = len(content.data)
        note(f"write {data!r} into {content.number} {sorted(content.names)}")

    @_has_app
    @rule()
    def reopen(self) -> None:
        """The writer goes on in what is at its path."""
        self._write_to(self._at(APP))

    # Rotation.

    @_has_app
    @rule(reopens=st.booleans(), fresh=st.booleans(), kinds=_few)
    def rename_and_create(self, reopens: bool, fresh: bool, kinds: list[str]) -> None:
        for number in (2, 1):
            old = self._path(f"app.log.{number}")
            if self.world.at(old) is not None:
                self._rename(old, self._path(f"app.log.{number + 1}"))
        self._rename(self._path(APP), self._path("app.log.1"))
        if fresh:
            made = self.world.create(self._path(APP))
            if reopens:
                self._write_to(made)
        self._write(kinds, alike=True)
        self._look_at_files()

    @_has_app
    @rule(where=st.sampled_from(["date", "near", "far", "hidden"]), kinds=_few)
    def rename_away(self, where: str, kinds: list[str]) -> None:
        self.numbers += 1
        target = {
            "date": self._path(f"app-{self.numbers}.log"),
            "near": self.world.near / f"app-{self.numbers}.log",
            "far": self.world.far / f"app-{self.numbers}.log",
            "hidden": self._path(f"{self.numbers}-app.log"),
        }[where]
        self._rename(self._path(APP), target)
        self._write_to(self.world.create(self._path(APP)))
        self._write(kinds, alike=True)
        self._look_at_files()

    @_has_app
    @rule(
        name=st.sampled_from(["app.log.1", "app-copy.log", "copy.log"]),
        between=_few,
        truncates=st.booleans(),
    )
    def copy(self, name: str, between: list[str], truncates: bool) -> None:
        """The first step of copying and emptying; or a backup, if the second never comes."""
        file = self._at(APP)
        if not file.content.data:
            return
        copied = self._copy(file, self._path(name), times=False)
        self.copies.append((file, copied, self.clock.now_s))
        self._write(between)
        if truncates:
            self._truncate(file)

    @_has_app
    @rule(kinds=_few)
    def truncate(self, kinds: list[str]) -> None:
        self._truncate(self._at(APP))
        self._write(kinds, alike=True)
        self._look_at_files()

    def _truncate(self, file: ModelFile) -> None:
        copies = [
            other
            for other in self.world.files
            if other.original is file.content and not other.suffix
        ]
        for source, copied, copied_s in self.copies:
            if (
                copies == [copied]
                and source is file
                and copied in self.world.files
                and copied.content.data == file.content.data
                and self.clock.now_s - copied_s < QUIET_S
                and copied.original is file.content
            ):
                copied.content.again = ""
        kept = [
            len(copied.content.data)
            for source, copied, _ in self.copies
            if source is file
            and copied in self.world.files
            and file.content.data.startswith(copied.content.data)
        ]
        if kept:
            # What was written between the two steps is nowhere, and maybe nobody has seen it.
            kept_bytes = min(max(kept), len(file.content.data))
            if kept_bytes < len(file.content.data):
                file.content.cutoff = kept_bytes
        self.copies = [each for each in self.copies if each[0] is not file]
        old = self.world.truncate(file)
        note(f"truncate {old.number}, then {file.content.number}")
        # It may be emptied more than once between two looks.
        self.judge.truncations += [Truncation(each, file.content) for each in file.emptied]
        if file is not self.writer:
            self.offset = 0
        self._look_at_files()

    @_has_app
    @rule(anew=st.sampled_from(["no", "empty", "same"]))
    def delete(self, anew: str) -> None:
        file = self._at(APP)
        data = bytes(file.content.data)
        path = self._path(APP)
        self.world.delete(path)
        if anew != "no":
            if not file.names:
                if file is self.writer:
                    self._write_to(None)
                self.world.forget(file)
            made = self.world.create(path, data if anew == "same" else b"")
            self._write_to(made)
        self._look_at_files()

    @precondition(lambda self: self._closed_files())
    @rule(
        data=st.data(),
        suffix=st.sampled_from(SUFFIXES),
        end=st.sampled_from(["half", "whole", "deletes", "deletes"]),
    )
    def compress(self, data: st.DataObject, suffix: str, end: str) -> None:
        path = data.draw(st.sampled_from(self._closed_files()))
        made = self.world.compress(path, suffix, half=end == "half")
        note(f"compress {path} ({end}) into {made.content.number}")
        if end == "deletes":
            self._delete(path)
        self._look_at_files()

    def back_up(self, name: str) -> None:
        """Copy the log with its times."""
        self._copy(self._at(APP), self._path(name), times=True)

    def move_closed(self, name: str) -> None:
        """Move what is rotated to another file system, with its times."""
        for path in self._closed_files():
            self.world.move_elsewhere(path, self._path(name), times=True)
        self._look_at_files()

    def rename_closed(self, name: str) -> None:
        """Rename what is rotated."""
        for path in self._closed_files():
            self._rename(path, self._path(name))
        self._look_at_files()

    def compress_all(self, suffix: str, *, deletes: bool) -> None:
        """Compress what is rotated, or write half of each archive."""
        for path in self._closed_files():
            self.world.compress(path, suffix, half=not deletes)
            if deletes:
                self._delete(path)
        self._look_at_files()

    @precondition(lambda self: self._half_archives())
    @rule(deletes=st.booleans())
    def complete_archive(self, deletes: bool) -> None:
        for made in self._half_archives():
            self.world.complete(made)
            path = next(iter(made.names))
            plain = path.with_suffix("")
            if deletes and self.world.at(plain) and self.world.at(plain) is not self.writer:
                self._delete(plain)
        self._look_at_files()

    @precondition(lambda self: self._closed_files())
    @rule(
        data=st.data(),
        where=st.sampled_from(["near", "far", "date"]),
        how=st.sampled_from(["rename", "elsewhere", "elsewhere without times", "delete"]),
    )
    def archive(self, data: st.DataObject, where: str, how: str) -> None:
        path = data.draw(st.sampled_from(self._closed_files()))
        self.numbers += 1
        target = {
            "date": self._path(f"app-{self.numbers}.log"),
            "near": self.world.near / f"app-{self.numbers}.log",
            "far": self.world.far / f"app-{self.numbers}.log",
        }[where]
        note(f"{how} {path} to {target}")
        if how == "rename":
            self._rename(path, target)
        elif how == "delete":
            self._delete(path)
        else:
            times = how == "elsewhere"
            moved = self.world.move_elsewhere(path, target, times=times)
            if not times:
                moved.content.again = "it has another time"
        self._look_at_files()

    @_has_app
    @rule(name=st.sampled_from(["app-link.log", "app-hard.log", "link.log"]))
    def link(self, name: str) -> None:
        path = self._path(name)
        if self.world.at(path) is not None:
            return
        path.unlink(missing_ok=True)
        if "hard" in name:
            path.hardlink_to(self._path(APP))
            file = self._at(APP)
            file.names.add(path)
            file.content.names.add(os.fspath(path))
        else:
            path.symlink_to(APP)
        self.world.changed_names = True
        self._look_at_files()

    # The shipper.

    @_is_up
    @rule(steps=st.integers(1, 12))
    def read_on(self, steps: int) -> None:
        self._wake()
        self._up.read_on(steps)

    @_is_up
    @rule(steps=st.integers(1, 8))
    def deliver_on(self, steps: int) -> None:
        self._up.deliver_on(steps)

    @_is_up
    @rule()
    def work(self) -> None:
        self._wake()
        self._work()

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self._pass(seconds)

    @_is_up
    @rule()
    def wait(self) -> None:
        """Long enough for all that is waited for."""
        self._settle(12.0)

    @_is_up
    @rule()
    def stop(self) -> None:
        self._up.stop()
        self._is_down_now()

    @_is_up
    @rule()
    def kill(self) -> None:
        self._up.kill()
        self._is_down_now()

    @_is_down
    @rule(lost=st.sampled_from([False, False, False, False, True]))
    def start(self, lost: bool) -> None:
        if lost and not self.keeps:
            note("the checkpoint is lost")
            for path in self.base.glob("checkpoint*"):
                path.unlink()
            self.judge.lives += 1
            for content in self.world.contents:
                content.renamed = False
            self._look_at_files()
        self._start(self.checkpoint, follows=True)

    @_is_down
    @rule(with_checkpoint=st.booleans())
    def run_once(self, with_checkpoint: bool) -> None:
        with_checkpoint = with_checkpoint or self.keeps
        # It can't wait until it shows what is a copy.
        self.copies = [(source, copied, -QUIET_S) for source, copied, _ in self.copies]
        if not with_checkpoint:
            self.judge.lives += 1
        self._start(self.checkpoint if with_checkpoint else None, follows=False)
        self._up.work()
        self._up.stop()
        for content in self.world.contents:
            # It does not wait until what was renamed is quiet.
            if content.hidden_s is not None and content.seen and content.cutoff is None:
                content.cutoff = len(content.data)
        self._is_down_now()
        if not with_checkpoint:
            self.judge.lives += 1

    @_is_down
    @rule(host=st.sampled_from(["two", "three"]))
    def clone(self, host: str) -> None:
        """The files are copied to another machine, with the checkpoint."""
        if self.keeps:
            return
        self.host = host
        self.judge.clones += 1

    # The end.

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self._end()
        finally:
            if self.shipper is not None:
                self.shipper.kill()
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.base, ignore_errors=True)
        assert psutil.Process().num_fds() == self._descriptors

    def _end(self) -> None:
        note("the end")
        if self.shipper is None:
            self._start(self.checkpoint, follows=True)
        self._settle(_SETTLED_S)
        self.judge.check()
        self._up.stop()
        self.shipper = None

    # What the rules are made of.

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
            if paths and (not self.has_checkpoint or not self._is_known(content)):
                path = os.fspath(paths[0]).removesuffix(file.suffix)
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
