"""Log files, those who write and rotate them, and what each content must have become at the end.

The model is made of docs/use/ship.md alone. It knows which bytes it wrote, into which content, and
what it did to files.
"""

import bz2
import os
import shutil
import zlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from backports import zstd

from publisher.ship.files.identity import FileIdentity, identify

QUIET_S = 10.0
_EPOCH_NS = 1_700_000_000 * 10**9
_SECOND_NS = 10**9
SUFFIXES = (".gz", ".bz2", ".zst")


def _compressed(suffix: str, content: bytes) -> bytes:
    if suffix == ".gz":
        compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        return compressor.compress(content) + compressor.flush()
    return bz2.compress(content) if suffix == ".bz2" else zstd.compress(content)


@dataclass(eq=False)
class ModelContent:
    """What one file holds from its first byte until it is emptied, written anew or deleted."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    copy_of: "ModelContent | None" = None
    names: set[str] = field(default_factory=set)
    """Under which its file was known."""
    seen: bool = False
    """Whether it was in a file when the shipper looked, since that was started."""
    read: bool = False
    """Whether something of it was read, since the shipper was started."""
    read_lives: set[int] = field(default_factory=set)
    """The lives of a checkpoint in which something of it was read."""
    exempt: str = ""
    """Why it may be missing, and nobody can say so; "" if it may not."""
    may_be_lost: str = ""
    """Why it may be missing if that is said; "" if it may not."""
    cutoff: int | None = None
    """What was written behind it came too late."""
    changed_s: float = 0.0
    hidden_s: float | None = None
    """Since when no name that is shipped leads to its file."""
    begun: set[tuple[str, str, int]] = field(default_factory=set)
    """The hosts, paths and lives of a checkpoint with which it may have been begun."""
    again: str = ""
    """Why a copy may be stored as well."""
    settled_bytes: int = -1
    """How many it had when the shipper had acknowledged all of it."""
    moves: int = 0
    """How often it was moved to another file, of another size than the shipper has seen."""
    destroyed: bool = False
    """Whether its file was emptied or is no more."""
    renamed: bool = False
    """Whether it got another name since it is known."""

    @property
    def first_line(self) -> bytes:
        return bytes(self.data.lstrip(b"\0").partition(b"\n")[0])


@dataclass(eq=False)
class ModelFile:
    """A file on the disk."""

    content: ModelContent
    names: set[Path]
    suffix: str = ""
    whole: bool = True
    """Whether an archive has its end."""
    fd: int = -1
    emptied: list[ModelContent] = field(default_factory=list)
    """What it held before."""
    changed_ns: int = 0
    """Of an archive: the time of the last change of what it was made of."""
    original: ModelContent | None = None
    """Of a copy: of what it is one."""

    @property
    def is_copy(self) -> bool:
        return self.original is not None


class World:
    """A directory of logs.

    Args:
        base: an empty directory.
        patterns: which names below `logs` are shipped.
    """

    def __init__(self, base: Path, patterns: tuple[str, ...]) -> None:
        self.base = base
        self.logs = base / "logs"
        self.near = self.logs / "old"
        self.far = base / "far" / "away"
        for directory in (self.near, self.far):
            directory.mkdir(parents=True)
        self.patterns = patterns
        self.now_s = 0.0
        self.contents: list[ModelContent] = []
        self.files: list[ModelFile] = []
        self.changed_names = False
        self.changed_files: set[Path] = set()
        self._identities: set[FileIdentity] = set()
        self._lines = 0
        self._number = 0

    # What there is.

    def at(self, path: Path) -> ModelFile | None:
        return next((file for file in self.files if path in file.names), None)

    def shipped(self, path: Path) -> bool:
        name = os.path.relpath(path, self.logs)
        return any(fnmatchcase(name, pattern) for pattern in self.patterns) and (
            "/" not in name or any("/" in pattern for pattern in self.patterns)
        )

    def visible(self, file: ModelFile) -> list[Path]:
        return sorted(path for path in file.names if self.shipped(path))

    def is_near(self, file: ModelFile) -> bool:
        return any(path.parent in (self.logs, self.near) for path in file.names)

    def holders(self, content: ModelContent) -> list[ModelFile]:
        """Return the files that have all bytes of a content."""
        return [
            file
            for file in self.files
            if file.content is content
            or (
                file.original is content
                and file.whole
                and file.content.data.startswith(content.data[: content.cutoff])
            )
        ]

    # What is done.

    def new_content(self, copy_of: ModelContent | None = None) -> ModelContent:
        content = ModelContent(len(self.contents), copy_of=copy_of, changed_s=self.now_s)
        self.contents.append(content)
        return content

    def create(self, path: Path, data: bytes = b"", original: ModelFile | None = None) -> ModelFile:
        """Make a new file, which is certainly another than all before."""
        content = self.new_content(original.content if original else None)
        content.data += data
        file = ModelFile(content, {path}, original=original.content if original else None)
        while True:
            file.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            identity = identify(file.fd)
            # The clock of births ticks every few milliseconds.
            if identity not in self._identities:
                break
            os.close(file.fd)
            path.unlink()
        self._identities.add(identity)
        if data:
            os.pwrite(file.fd, data, 0)
        self.files.append(file)
        content.names.add(os.fspath(path))
        self.changed_names = True
        self._touch(file)
        return file

    def write(self, file: ModelFile, data: bytes, *, appends: bool = True, offset: int = 0) -> None:
        content = file.content
        size = len(content.data)
        at = size if appends else max(offset, size)
        if content.hidden_s is not None and content.cutoff is None:
            quiet = self.now_s - max(content.hidden_s, content.changed_s)
            if quiet >= QUIET_S:
                content.cutoff = size
        content.data += bytes(at - size) + data
        os.pwrite(file.fd, data, at)
        content.changed_s = self.now_s
        self._touch(file)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name; what had that is deleted."""
        file = self.at(old)
        assert file is not None
        if self.at(new) is not None:
            self.delete(new)
        old.rename(new)
        file.names.discard(old)
        file.names.add(new)
        file.content.names.add(os.fspath(new))
        self.changed_names = True

    def delete(self, path: Path) -> None:
        file = self.at(path)
        assert file is not None
        path.unlink()
        file.names.discard(path)
        self.changed_names = True

    def forget(self, file: ModelFile) -> None:
        """Let nobody write any more to a file without names."""
        os.close(file.fd)
        file.fd = -1
        self.files.remove(file)
        file.content.destroyed = True

    def truncate(self, file: ModelFile) -> ModelContent:
        """Empty a file: what it holds from then on is a new content."""
        os.ftruncate(file.fd, 0)
        old = file.content
        old.destroyed = True
        file.emptied.append(old)
        file.content = self.new_content()
        file.content.names = old.names
        file.original = None
        self._touch(file)
        return old

    def copy(self, file: ModelFile, path: Path, *, times: bool) -> ModelFile:
        if self.at(path) is not None:
            self.delete(path)
        copied = self.create(path, bytes(file.content.data), file)
        if times:
            status = os.fstat(file.fd)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return copied

    def move_elsewhere(self, old: Path, new: Path, *, times: bool) -> ModelFile:
        """Move a file to another file system: the content is the same, the file another."""
        file = self.at(old)
        assert file is not None
        copied = self.copy(file, new, times=times)
        self.delete(old)
        moved, content = copied.content, file.content
        if times:
            # The content goes on in the new file.
            if len(content.data) != content.settled_bytes:
                content.moves += 1
            self.contents.remove(moved)
            content.names.add(os.fspath(new))
            copied.content, copied.original = content, None
            file.content = self.new_content()
        return copied

    def compress(self, path: Path, suffix: str, *, half: bool) -> ModelFile:
        """Write an archive of a file beside it, or half of it; whole it has the file's time."""
        file = self.at(path)
        assert file is not None
        data = bytes(file.content.data)
        archive = _compressed(suffix, data)
        there = archive[: len(archive) // 2] if half else archive
        into = path.with_name(path.name + suffix)
        if self.at(into) is not None:
            self.delete(into)
        made = self.create(into, there, file)
        made.content.data = bytearray(data)
        if any(
            other.data.startswith(data) and other not in (file.content, made.content, file.original)
            for other in self.contents
        ):
            made.content.again = "its plain file waits as if it was a copy"
        made.suffix, made.whole = suffix, not half
        made.changed_ns = os.fstat(file.fd).st_mtime_ns
        if made.whole:
            os.utime(made.fd, ns=(made.changed_ns, made.changed_ns))
        return made

    def complete(self, made: ModelFile) -> None:
        """Write the rest of an archive."""
        archive = _compressed(made.suffix, bytes(made.content.data))
        size = os.fstat(made.fd).st_size
        os.pwrite(made.fd, archive[size:], size)
        made.whole = True
        self._touch(made)
        os.utime(made.fd, ns=(made.changed_ns, made.changed_ns))

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    def see_what_is_hidden(self) -> None:
        """Take in which contents no name leads to any more."""
        there = {id(file.content) for file in self.files if self.visible(file)}
        for content in self.contents:
            if id(content) in there:
                content.hidden_s = None
            elif content.hidden_s is None:
                content.hidden_s = self.now_s

    def close(self) -> None:
        for file in self.files:
            if file.fd >= 0:
                os.close(file.fd)
        shutil.rmtree(self.base)

    def _touch(self, file: ModelFile) -> None:
        """Set the time of the last change by the test's clock: each change has another."""
        self._number += 1
        changed_ns = _EPOCH_NS + (int(self.now_s) + self._number) * _SECOND_NS
        os.utime(file.fd, ns=(changed_ns, changed_ns))
        self.changed_files |= file.names
