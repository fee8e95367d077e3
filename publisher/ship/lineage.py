"""Where in which content a line stands: the ids of lines, and how a file is known again.

The id of a line is made of all the bytes from the start of the file to the end of the line, never
of when or from where it was sent:

    <fingerprint>-<position>-<digest>       3c9f0a…-000000001234-77ab01…

digest: of the source and every line up to this one, each hashed with the digest before it.
fingerprint: the digest of the first line, so that all ids of a file begin alike and ascend.
position: of the line's first byte.

Shipping a file again, from another directory or machine, or after a crash half-way gives the same
ids, so the aggregator stores nothing twice. Where two files of the same source differ, their ids
differ from there on.
"""

import hashlib
import os
from typing import NamedTuple

from publisher.ship.lines import Piece

_ID_DIGITS = 20
HEAD_BYTES = 1024
TAIL_BYTES = 256


class Progress(NamedTuple):
    """A place in some content, with what it takes to go on from there and to find it again.

    salt: what tells it from other content that begins alike. position: bytes from the start.
    chain: digest of all lines before it. fingerprint: digest of the first line, "" at the start.
    head: the first bytes, at most HEAD_BYTES; tail: the last ones
    before the position, at most TAIL_BYTES.
    """

    salt: str
    position: int
    chain: bytes
    fingerprint: str
    head: bytes
    tail: bytes

    def follows(self, file: int) -> bool:
        """Tell whether the content of an open file is this content up to the position.

        file: a descriptor. It is compared by head and tail.

        Raises OSError when the file cannot be read.
        """
        if os.pread(file, len(self.head), 0) != self.head:
            return False
        return os.pread(file, len(self.tail), self.position - len(self.tail)) == self.tail


class Line(NamedTuple):
    """A piece with its id, and the place behind it.

    begins: whether a line begins with it; False for the second and later parts of a long one.
    """

    piece: Piece
    line_id: str
    progress: Progress
    begins: bool


def start(source: str, salt: str = "") -> Progress:
    """Give the start of some content of a source.

    salt: tells contents apart that begin alike and yet are not the same; "" for the first.
    """
    return Progress(salt, 0, hashlib.sha256(f"{source}\0{salt}".encode()).digest(), "", b"", b"")


def first_start(source: str, piece: Piece, taken: set[str]) -> Progress:
    """Give the start of content that is new although others may have begun like it.

    piece: its first one. taken: the fingerprints of the others.
    """
    number = 0
    while True:
        begun = start(source, str(number) if number else "")
        if advance(begun, piece).progress.fingerprint not in taken:
            return begun
        number += 1


def advance(progress: Progress, piece: Piece) -> Line:
    """Give the line that a piece is, at that place."""
    line = piece.data + piece.eol
    chain = hashlib.sha256(progress.chain + line).digest()
    digits = chain.hex()[:_ID_DIGITS]
    fingerprint = progress.fingerprint or digits
    head = progress.head
    if len(head) < HEAD_BYTES:
        head = (head + line)[:HEAD_BYTES]
    tail = line[-TAIL_BYTES:] if len(line) >= TAIL_BYTES else (progress.tail + line)[-TAIL_BYTES:]
    position = progress.position + len(line)
    behind = Progress(progress.salt, position, chain, fingerprint, head, tail)
    begins = progress.position == 0 or progress.tail.endswith(b"\n")
    return Line(piece, f"{fingerprint}-{progress.position:012d}-{digits}", behind, begins)
