"""Writes a log as programs and logrotate do, and remembers every line."""

import random
import shutil
from pathlib import Path

HEADING = b"# the heading that every file begins with\n"


class LogWriter:
    """Appends lines to a log, and rotates it in the ways that are about.

    The lines of `written` are what a reader of the log must get, in that order. All files begin
    with the same heading, and then differ.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.written: list[bytes] = []
        self._chance = random.Random(seed)
        self._file = path.open("ab", buffering=0)
        self._heading()

    def write(self, lines: int) -> None:
        """Append lines, some in two pieces, some long, some that were written before."""
        for _ in range(lines):
            number = len(self.written)
            numbered = [
                b"%d\n" % number,
                b"line %d\r\n" % number,
                b"\xff\x00 no text %d\n" % number,
                b"long %d " % number + b"x" * self._chance.randrange(5_000) + b"\n",
            ]
            repeated = [] if self.written[-1] is HEADING else [b"the same again\n"]
            line = self._chance.choice(numbered + repeated)
            cut = self._chance.randrange(len(line))
            self._file.write(line[:cut])
            self._file.write(line[cut:])
            self.written.append(line)

    def rename(self) -> None:
        """Rotate as logrotate's `create` does: the file moves away, a new one takes its place."""
        self._shift()
        self.path.rename(self._numbered(1))
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self._heading()

    def copy_and_truncate(self) -> None:
        """Rotate as logrotate's `copytruncate` does: a copy is made, and the file is emptied."""
        self._shift()
        shutil.copyfile(self.path, self._numbered(1))
        self._file.truncate(0)
        self._heading()

    def truncate(self) -> None:
        """Empty the file; what nobody has read by then is gone."""
        self._file.truncate(0)
        self._heading()

    def anything(self) -> None:
        """Write, and now and then rotate."""
        self.write(self._chance.randrange(1, 30))
        if self._chance.random() < 0.1:
            self._chance.choice([self.rename, self.copy_and_truncate])()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _heading(self) -> None:
        self._file.write(HEADING)
        self.written.append(HEADING)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _shift(self) -> None:
        number = 1
        while self._numbered(number).exists():
            number += 1
        for last in range(number, 1, -1):
            self._numbered(last - 1).rename(self._numbered(last))
