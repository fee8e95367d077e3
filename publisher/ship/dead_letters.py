"""Dead letters: records that broke a rule, kept in a file that can be sent again."""

import base64
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from publisher.ship.outgoing import Origin, made_id
from publisher.ship.records.record import Record

_BEGINNING = b'{"event_id":"'
_is_made_id = re.compile("[0-9a-f]*-[0-9]+-(?:[0-9a-f]{2})*").fullmatch


class DeadLettersRefused(Exception):
    """The file can't be written or read; the message is one sentence that names it."""


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that was not stored, as a line of JSON.

    Args:
        event_id: that it has without one of its own.
        source: of its content.
        path: of its file.
        position: of its first byte.
        reason: why it was not stored, one sentence.
        text: its lines, terminators included; "" if they are not UTF-8.
        text_base64: in place of it then.
    """

    event_id: str
    source: str
    path: str
    position: int
    reason: str
    text: str = ""
    text_base64: str = ""

    @classmethod
    def of(cls, origin: Origin, record: Record, reason: str) -> "DeadLetter":
        """Return the dead letter of a record with all its lines."""
        content = b"".join(line.data + line.eol for line in record.lines)
        # That of a long line may be the last of several.
        record = record._replace(position=record.lines[0].position)
        letter = cls(
            made_id(origin, record),
            origin.source,
            os.fsencode(origin.path).decode(errors="replace"),
            record.position,
            reason,
        )
        try:
            return msgspec.structs.replace(letter, text=content.decode())
        except UnicodeDecodeError:
            encoded = base64.b64encode(content).decode()
            return msgspec.structs.replace(letter, text_base64=encoded)

    @property
    def content(self) -> bytes:
        """The bytes of its lines."""
        encoded = self.text_base64
        return base64.b64decode(encoded, validate=True) if encoded else self.text.encode()


class DeadLetters:
    """Appends dead letters to a file, durably.

    Args:
        path: of the file, which is made when the first one is added.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Append dead letters, and flush them to the disk.

        Raises:
            DeadLettersRefused: the file can't be written.
        """
        encode = msgspec.json.encode
        content = b"".join(encode(letter) + b"\n" for letter in letters)
        try:
            with self._path.open("a+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                # What a crash or a full disk cut short stays a line of its own.
                if file.read(1) not in {b"", b"\n"}:
                    content = b"\n" + content
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DeadLettersRefused(
                f"cannot write the dead letters {os.fspath(self._path)!r}: "
                f"{error.strerror or error}"
            ) from error


class ReadLetters(NamedTuple):
    """What a file of dead letters has.

    Attributes:
        letters: the dead letters.
        refused: a sentence for each line that is none.
    """

    letters: list[DeadLetter]
    refused: list[str]


def read_dead_letters(path: Path) -> ReadLetters:
    """Read a file of dead letters, and what else stands between them.

    Raises:
        DeadLettersRefused: it can't be read, or does not begin as such a file does.
    """
    name = os.fspath(path)
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DeadLettersRefused(
            f"cannot read the dead letters {name!r}: {error.strerror or error}"
        ) from error
    if rest:
        lines.append(rest)
    letters: list[DeadLetter] = []
    refused: list[str] = []
    for number, line in enumerate(lines, 1):
        letter = _letter(line)
        if letter is not None:
            letters.append(letter)
        elif number == 1 and not _begins_as_one(line):
            raise DeadLettersRefused(f"line 1 of {name!r} is no dead letter")
        elif rest and number == len(lines):
            refused.append(
                f"{name!r} ends in the midst of a dead letter, which is left out: its record was "
                "never acknowledged, so run the command that wrote it again"
            )
        else:
            refused.append(f"line {number:,} of {name!r} is no dead letter, and is left out")
    return ReadLetters(letters, refused)


def _letter(line: bytes) -> DeadLetter | None:
    try:
        letter = msgspec.json.decode(line, type=DeadLetter)
        letter.content  # noqa: B018 - may be no base64
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return letter if _is_made_id(letter.event_id) else None


def _begins_as_one(line: bytes) -> bool:
    """Tell whether a line may be what is left of a dead letter that was cut short."""
    return bool(line) and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]
