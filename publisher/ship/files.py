"""Which logs a command names: paths and patterns, and what is there now."""

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from publisher.ship.checkpoint import Checkpoint, Known
from publisher.ship.generation import identity_of
from publisher.ship.log import Log
from publisher.ship.log_events import source_name
from publisher.ship.opening import FileRefused, opened_if_there
from publisher.ship.rotation import name_before_rotation

Identity = tuple[int, int]

_FIRST_LINE_BYTES = 65_536


class Logs:
    """The files that paths and patterns name, in their order; a pattern's are sorted.

    names: paths, or patterns of `*`, `?`, `[...]` and `**`. source: of all lines; without it, each
    file's base name. checkpoint: where to go on. max_piece_bytes: longer lines are cut.
    """

    def __init__(
        self,
        names: Sequence[Path],
        source: str | None,
        checkpoint: Checkpoint | None,
        max_piece_bytes: int,
    ) -> None:
        self._names = names
        self._source = source
        self._checkpoint = checkpoint
        self._max_piece_bytes = max_piece_bytes
        self._taken: dict[str, set[str]] = {}
        self._known: dict[str, list[Known]] = {}

    def survey(self) -> int:
        """Find out what cannot be shipped, and give the bytes of all files.

        Raises FileRefused.
        """
        total_bytes = 0
        seen: dict[tuple[str, bytes], tuple[Path, Identity]] = {}
        for path in self._paths():
            file = self._opened(path)
            try:
                status = os.fstat(file)
                total_bytes += status.st_size
                first_line = os.pread(file, _FIRST_LINE_BYTES, 0).partition(b"\n")[0]
            except OSError as error:
                raise FileRefused(f"cannot read {os.fspath(path)!r}: {error.strerror}") from error
            finally:
                os.close(file)
            source = self._source_of(path)
            identity = identity_of(status)
            other, its_identity = seen.setdefault(
                (source, hashlib.sha256(first_line).digest()), (path, identity)
            )
            # With a checkpoint they are told apart by it.
            if first_line and self._checkpoint is None and its_identity != identity:
                raise FileRefused(
                    f"{os.fspath(other)!r} and {os.fspath(path)!r} have the same source "
                    f"{source!r} and the same first line, so their lines would share ids as far "
                    "as they are alike: give each a --source of its own, or use --checkpoint"
                )
        return total_bytes

    def one_by_one(self) -> Iterator[Log]:
        """Give each, open while it is dealt with.

        Raises FileRefused, CheckpointRefused.
        """
        paths = self._paths()
        identities = _identities(paths)
        for path in paths:
            with closing(self._log(path, identities)) as log:
                if not log.begin(earlier=False):
                    raise _missing(path)
                yield log

    def _log(self, path: Path, identities: Mapping[Path, Identity]) -> Log:
        source = self._source_of(path)
        if self._checkpoint is None:
            # Nothing is kept, so ids must come from the content alone, whatever else is shipped.
            return Log(path, source, [], set(), self._max_piece_bytes)
        known = self._known.get(source)
        if known is None:
            known = self._known[source] = self._checkpoint.known(source)
        taken = self._taken.setdefault(source, {entry.progress.fingerprint for entry in known})
        elsewhere = set(identities.values()) - {identities.get(path)}
        mine = [entry for entry in known if entry.identity not in elsewhere]
        return Log(path, source, mine, taken, self._max_piece_bytes)

    def _source_of(self, path: Path) -> str:
        return self._source or source_name(path)

    def _paths(self) -> list[Path]:
        paths: list[Path] = []
        for name in self._names:
            matches = _matches(name)
            if not matches:
                raise FileRefused(f"cannot read {os.fspath(name)!r}: no file matches it")
            paths += matches
        return self._once(paths)

    def _once(self, paths: Sequence[Path]) -> list[Path]:
        """Leave out what comes again, by another way to the same file too."""
        found: dict[tuple[str, str], Path] = {}
        for path in paths:
            found.setdefault((self._source_of(path), os.path.realpath(path)), path)
        return list(found.values())

    def _opened(self, path: Path) -> int:
        file = opened_if_there(path)
        if file is None:
            raise _missing(path)
        return file


class FollowedLogs(Logs):
    """The logs that paths and patterns name, as they come and go.

    What rotation makes of a log belongs to it, so a pattern that matches that too names the log.
    """

    def __init__(
        self,
        names: Sequence[Path],
        source: str | None,
        checkpoint: Checkpoint,
        max_piece_bytes: int,
    ) -> None:
        super().__init__(names, source, checkpoint, max_piece_bytes)
        self._logs: dict[Path, Log] = {}
        self._has_looked = False
        self._unmatched: dict[Path, str] = {}
        self._told: dict[Path, str] = {}

    def __iter__(self) -> Iterator[Log]:
        return iter(list(self._logs.values()))

    def look(self) -> list[str]:
        """See what is there now; gives a sentence for each path that newly leads nowhere.

        Raises FileRefused for what cannot be read when it is called first, and CheckpointRefused.
        Later a file that cannot be read is one that is not there: whoever rotates a log may take a
        moment to let others read the new one.
        """
        paths = self._paths()
        new = [path for path in paths if path not in self._logs]
        identities = _identities(paths) if new else {}
        self._known.clear()
        for path in new:
            self._logs[path] = self._log(path, identities)
        told = dict(self._unmatched)
        for path, log in list(self._logs.items()):
            try:
                there = log.begin(earlier=True) if path in new else log.look()
                reason = "" if there else f"{os.fspath(path)!r} is not there"
            except FileRefused as error:
                if not self._has_looked:
                    raise
                reason = str(error)
                if path in new:
                    del self._logs[path]
            if reason:
                told[path] = reason
            if reason and log.is_over and path not in paths:
                del self._logs[path]
        newly_told = [reason for path, reason in told.items() if self._told.get(path) != reason]
        self._told = told
        self._has_looked = True
        return newly_told

    def close(self) -> None:
        """Close all files."""
        for log in self:
            log.close()

    def _paths(self) -> list[Path]:
        paths: list[Path] = []
        self._unmatched.clear()
        for name in self._names:
            matches = _matches(name)
            if not matches:
                self._unmatched[name] = f"no file matches {os.fspath(name)!r}"
            if matches != [name]:
                matches = [_before_rotation(path) for path in matches]
            paths += matches
        return self._once(paths)


def _matches(name: Path) -> list[Path]:
    if not glob.has_magic(os.fspath(name)) or os.path.lexists(name):
        return [name]
    found = glob.glob(os.fspath(name), recursive=True)  # noqa: PTH207 - it may be absolute
    # Not `Path.is_file`, which raises when it may not look.
    return [path for path in sorted(map(Path, found)) if os.path.isfile(path)]  # noqa: PTH113


def _before_rotation(path: Path) -> Path:
    name = name_before_rotation(path.name)
    return path.with_name(name) if name else path


def _missing(path: Path) -> FileRefused:
    return FileRefused(f"cannot read {os.fspath(path)!r}: {os.strerror(2)}")


def _identities(paths: Sequence[Path]) -> dict[Path, Identity]:
    found = {}
    for path in paths:
        # What is not there, or not to be read, is told of when its turn comes.
        with suppress(OSError):
            found[path] = identity_of(path.stat())
    return found
