"""An entry is added to the tokens file, which a crash at any moment leaves whole."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.access.entry_fields import FieldBroken
from aggregator.access.tokens_file import parse, parse_entries, read

_MODE = 0o600


class CannotAdd(Exception):
    """An entry can't be added; the message is one sentence that names the file."""


def add_entry(path: Path, text: str) -> None:
    """Add one entry to a tokens file durably, after what is there, which stays byte for byte.

    The file is replaced by one that its owner alone may read. Two at once wait for each other. Of a
    link, what it leads to is replaced. Where there is no file, there is one afterwards.

    Args:
        path: of the file.
        text: the entry in TOML.

    Raises:
        CannotAdd: an entry of this name or with this token or certificate is there, or the file
            can't be written.
        FieldBroken: the text is no entry, or breaks a rule.
        TokensFileBroken: the file can't be read, or breaks a rule.
    """
    (entry,) = parse_entries(text)
    try:
        path = path.resolve()
        with _locked(path.parent):
            there = read(path) if os.path.lexists(path) else b""
            if any(each.name == entry.name for each in parse(there, path)):
                raise CannotAdd(
                    f"the tokens file {str(path)!r} has an entry {entry.name!r} already; choose "
                    "another name"
                )
            content = _joined(there, text.encode())
            try:
                parse_entries(content.decode())
            except FieldBroken as error:
                raise CannotAdd(f"can't add to the tokens file {str(path)!r}: {error}") from None
            _replace(path, content)
    except (OSError, RuntimeError) as error:
        # Of links that lead to each other, older versions of Python say RuntimeError.
        reason = error.strerror if isinstance(error, OSError) else None
        raise CannotAdd(f"can't add to the tokens file {str(path)!r}: {reason or error}") from None


def _joined(there: bytes, added: bytes) -> bytes:
    if not there:
        return added
    end_of_line = b"" if there.endswith(b"\n") else b"\n"
    return there + end_of_line + b"\n" + added


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    # The directory and not the file, which is another one behind each addition.
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.fsync(lock)
    finally:
        os.close(lock)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    # What a crash left of an earlier addition; none is under way.
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(file, "wb") as opened:
            os.fchmod(file, _MODE)
            _keep_owner(path, file)
            opened.write(content)
            opened.flush()
            os.fsync(file)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, file: int) -> None:
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    now = os.fstat(file)
    if before.st_uid != now.st_uid:
        # Otherwise the aggregator, which reads it as its owner, could read it no more.
        os.fchown(file, before.st_uid, before.st_gid)
