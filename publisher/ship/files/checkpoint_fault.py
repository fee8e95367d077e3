"""Why a checkpoint cannot be used, and what to do about it, in one sentence."""

import os
import sqlite3
from pathlib import Path

_PRIMARY_CODE = 0xFF
"""Of an error code of SQLite, whose other bits say more."""
_GOES_ON = "the same command goes on where it stopped"
_OTHER_FILE = "or name another file with --checkpoint"
_NOT_WRITABLE = (
    f"it cannot be opened and written; give this user the right to, also in its directory, "
    f"{_OTHER_FILE}"
)
_DAMAGED = "it is damaged; remove it, which costs what docs/use/ship.md says of a lost one"
_REASONS = {
    sqlite3.SQLITE_BUSY: "another command is using it",
    sqlite3.SQLITE_LOCKED: "another command is using it",
    sqlite3.SQLITE_NOTADB: f"it is not a checkpoint; remove it, {_OTHER_FILE}",
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    # The statements are right, so it is a table that is not.
    sqlite3.SQLITE_ERROR: _DAMAGED,
    sqlite3.SQLITE_FULL: f"there is no space for it; make room, and {_GOES_ON}",
    sqlite3.SQLITE_IOERR: f"its disk cannot be read or written; once that can be, {_GOES_ON}",
}


class CheckpointRefused(Exception):
    """The checkpoint cannot be used; the message is one sentence that names it."""

    @classmethod
    def of(cls, path: Path, error: sqlite3.Error) -> "CheckpointRefused":
        """Return the refusal of a checkpoint that SQLite could not use.

        Args:
            path: of the checkpoint.
            error: of SQLite.
        """
        code = getattr(error, "sqlite_errorcode", None)
        reason = str(error) if code is None else _REASONS.get(code & _PRIMARY_CODE, str(error))
        directory = path.parent
        if reason == _NOT_WRITABLE and path.is_dir():
            reason = "it is a directory; name a file with --checkpoint"
        elif reason == _NOT_WRITABLE and not directory.is_dir():
            reason = f"there is no directory {os.fspath(directory)!r}; make it, {_OTHER_FILE}"
        return cls(f"cannot use the checkpoint {os.fspath(path)!r}: {reason}")
