"""Hypothesis: those who write logs, and those who rotate them."""

import os

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from support.ship_judge import Truncation
from support.ship_machine_state import APP, HEADING, LINES, ShipMachineState, note
from support.ship_world import QUIET_S, SUFFIXES, ModelFile

some_lines = st.lists(st.sampled_from(sorted(LINES)), min_size=1, max_size=4)
few_lines = st.lists(st.sampled_from(sorted(LINES)), max_size=2)
is_up = precondition(lambda self: self.shipper is not None)
is_down = precondition(lambda self: self.shipper is None)
_has_app = precondition(lambda self: self.world.at(self.world.logs / APP) is not None)


class Rotation(ShipMachineState):
    """Files are written and rotated, while the shipper is up or down."""

    # The writer.

    @rule(kinds=some_lines, alike=st.booleans())
    def write(self, kinds: list[str], alike: bool) -> None:
        self._write(kinds, alike=alike)

    @is_up
    @rule(kinds=some_lines, alike=st.booleans(), steps=st.integers(1, 12))
    def write_and_read(self, kinds: list[str], alike: bool, steps: int) -> None:
        self._write(kinds, alike=alike)
        self._wake()
        self._up.read_on(steps)

    @is_up
    @rule(kinds=some_lines, alike=st.booleans())
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
    @rule(reopens=st.booleans(), fresh=st.booleans(), kinds=few_lines)
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
    @rule(where=st.sampled_from(["date", "near", "far", "hidden"]), kinds=few_lines)
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
        between=few_lines,
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
    @rule(kinds=few_lines)
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
