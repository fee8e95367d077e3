"""Dead letters: records that broke a rule, kept in a file that can be sent again."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from publisher.ship.outgoing import Origin, made_id
from publisher.ship.records.record import Record


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
        return base64.b64decode(self.text_base64) if self.text_base64 else self.text.encode()


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
            with self._path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DeadLettersRefused(
                f"cannot write the dead letters {os.fspath(self._path)!r}: "
                f"{error.strerror or error}"
            ) from error


def read_dead_letters(path: Path) -> list[DeadLetter]:
    """Read a file of dead letters.

    Raises:
        DeadLettersRefused: it can't be read, or is none.
    """
    name = os.fspath(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DeadLettersRefused(
            f"cannot read the dead letters {name!r}: {error.strerror or error}"
        ) from error
    letters = []
    for number, line in enumerate(lines, 1):
        try:
            letters.append(msgspec.json.decode(line, type=DeadLetter))
        except msgspec.DecodeError as error:
            if number == len(lines):
                break  # cut short by a crash: its record was never acknowledged
            raise DeadLettersRefused(f"line {number} of {name!r} is no dead letter") from error
    return letters
