"""SQLite's files byte by byte: which page belongs to what, where a transaction ends in the -wal.

See "Database File Format" in SQLite's documentation.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

_LEAVES = {0x0A, 0x0D}
_WAL_HEADER = 32
_FRAME_HEADER = 24


def page_bytes(path: Path) -> int:
    """The page size of a database or of its -wal file."""
    with path.open("rb") as file:
        header = file.read(100)
    if header.startswith(b"SQLite format 3\0"):
        return int.from_bytes(header[16:18], "big") % 65535 or 65536
    return int.from_bytes(header[8:12], "big")


class Tree(NamedTuple):
    """The pages of a table or an index, numbered from 1."""

    root: int
    leaves: list[int]


def tree(path: Path, name: str) -> Tree:
    """The pages of this table or index, in its order; only for a database without a -wal file.

    That of the schema itself is `sqlite_schema`, whose root is page 1.
    """
    connection = sqlite3.connect(path)
    try:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?1 "
            "UNION ALL SELECT 1 WHERE ?1 = 'sqlite_schema'",
            (name,),
        ).fetchone()
    finally:
        connection.close()
    return Tree(root, _leaves(path.read_bytes(), page_bytes(path), root))


def _leaves(content: bytes, size: int, number: int) -> list[int]:
    page = content[(number - 1) * size : number * size]
    # The header of the file comes ahead of that of its first page.
    head = 100 if number == 1 else 0
    if page[head] in _LEAVES:
        return [number]
    cells = int.from_bytes(page[head + 3 : head + 5], "big")
    places = range(head + 12, head + 12 + 2 * cells, 2)
    starts = [int.from_bytes(page[at : at + 2], "big") for at in places]
    children = [int.from_bytes(page[at : at + 4], "big") for at in (*starts, head + 8)]
    return [leaf for child in children for leaf in _leaves(content, size, child)]


def overwrite_page(path: Path, number: int, content: bytes) -> None:
    """Put this in the place of a page, as a disk does that fails."""
    with path.open("r+b") as file:
        file.seek((number - 1) * page_bytes(path))
        file.write(content)


def commit_ends(wal: bytes) -> list[int]:
    """Where the transactions of a -wal file end, in bytes from its start; first of all its header.

    Only for a file that has not been begun anew, where nothing lies behind the last of them.
    """
    size = int.from_bytes(wal[8:12], "big")
    frame = _FRAME_HEADER + size
    starts = range(_WAL_HEADER, len(wal) - frame + 1, frame)
    # A frame that ends a transaction has the size of the database in it.
    ends = [at + frame for at in starts if int.from_bytes(wal[at + 4 : at + 8], "big")]
    return [_WAL_HEADER, *ends]
