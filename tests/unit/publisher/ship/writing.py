"""A log as programs and rotation write it, and what a reader of it must get."""

import shutil
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

HEADING = b"# the heading that every file begins with\n"


class Writer:
    """Writes a log, and knows which lines a reader must get."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.half = b""
        self.has_begun = False
        self.has_copied = False
        self._number = 0
        self._files = ExitStack()
        self._file = self._open()
        self.old_file: FileIO | None = None
        """The file that was renamed last, unless a line of it has no end."""
        self.heading()

    def close(self) -> None:
        self._files.close()

    def _open(self) -> FileIO:
        return self._files.enter_context(self.path.open("ab", buffering=0))

    def heading(self) -> None:
        """Begin a content: all begin alike, and differ with the next line."""
        self._put(HEADING)
        self.has_begun = False

    def line(self, kind: str) -> None:
        """Write what is left of a line under way, and a line."""
        self.end_half()
        if self.has_begun and kind == "same":
            self._put(b"the same again\r\n")
        else:
            self._put(self._unique() + (b"x" * 150 if kind == "long" else b"") + b"\n")
        self.has_begun = True

    def begin_half(self) -> None:
        """Write a line without its end."""
        self.end_half()
        self.half = self._unique()
        self._file.write(self.half)
        self.has_begun = True

    def end_half(self) -> None:
        """Write the end of the line under way."""
        if self.half:
            self._file.write(b" end\n")
            self.lines.append(self.half + b" end\n")
            self.half = b""

    def leave_half(self) -> None:
        """Write no more to this content: a line under way is one without newline."""
        if self.half:
            self.lines.append(self.half)
            self.half = b""

    def late_line(self) -> None:
        """Write to the file that was renamed last, as a program does until it opens the new one."""
        assert self.old_file is not None
        line = self._unique() + b" late\n"
        self.old_file.write(line)
        self.lines.append(line)

    def rename(self) -> None:
        """Rotate as logrotate's `create` does."""
        self._shift()
        self.path.rename(self._numbered(1))
        self.old_file = None if self.half else self._file
        self.leave_half()
        self._reopened()

    def copy(self) -> None:
        """Copy the log to where a rotation would."""
        self._shift()
        shutil.copyfile(self.path, self._numbered(1))
        self.has_copied = True

    def truncate(self) -> None:
        """Empty the log."""
        self._file.truncate(0)
        self.heading()

    def replace(self) -> None:
        """Put a file with other content in the place of the log, at once."""
        new = self.path.with_name("new")
        new.touch()
        new.replace(self.path)
        self._reopened()

    def rewrite(self) -> None:
        """Put a file with the same content in the place of the log, as editors do."""
        new = self.path.with_name("new")
        shutil.copyfile(self.path, new)
        new.replace(self.path)
        self._file = self._open()

    def remove(self) -> None:
        """Remove the log, and begin another."""
        self.path.unlink()
        self._reopened()

    def _reopened(self) -> None:
        self._file = self._open()
        self.heading()

    def _put(self, line: bytes) -> None:
        self._file.write(line)
        self.lines.append(line)

    def _unique(self) -> bytes:
        self._number += 1
        return b"line %04d" % self._number

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _shift(self) -> None:
        # By the next rotation it has opened the new one.
        self.old_file = None
        number = 1
        while self._numbered(number).exists():
            number += 1
        for last in range(number, 1, -1):
            self._numbered(last - 1).rename(self._numbered(last))
