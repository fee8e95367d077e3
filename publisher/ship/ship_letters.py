"""Shipping dead letters once more."""

from dataclasses import dataclass
from pathlib import Path

from publisher.ship.dead_letters import DeadLetter, read_dead_letters
from publisher.ship.files.line_reader import LineReader
from publisher.ship.records.record import ContentNames, Line
from publisher.ship.run_sending import run_sending
from publisher.ship.sending import Sender
from publisher.ship.target import Report, Target


@dataclass(frozen=True, slots=True)
class _Letter:
    """A dead letter as the origin of its records."""

    name: str
    source: str
    path: Path


async def ship_letters(path: Path, target: Target, report: Report) -> bool:
    """Ship the records of a file of dead letters, as the options make them now.

    Args:
        path: of the file, which stays as it is: what is stored already is not stored twice.
        target: where the records go.
        report: whom to tell, also of each line that is no dead letter; the others are shipped.

    Returns:
        Whether all lines are dead letters.

    Raises:
        DeadLettersRefused: the file can't be read, or is none.
        ShipStopped: a request was refused or given up.
    """
    letters, refused = read_dead_letters(path)
    for sentence in refused:
        report.tell_of_file(sentence)
    report.expect_bytes(sum(len(letter.content) for letter in letters))

    async def send_all(sender: Sender) -> None:
        for letter in letters:
            name, _, digest = letter.event_id.split("-", 2)
            origin = _Letter(name, letter.source, Path(letter.path))
            names = ContentNames(target.host, letter.path, Path(letter.path).name)
            reader = target.line_format.reader(names)
            chain = bytes.fromhex(digest)
            lines = _lines(letter, chain, target.line_format.max_line_bytes)
            await sender.send(origin, reader.feed(lines, 0.0) + reader.finish())

    await run_sending(send_all, target, report, None)
    return not refused


def _lines(letter: DeadLetter, chain: bytes, max_line_bytes: int) -> list[Line]:
    reader = LineReader(letter.position, b"", max_line_bytes)
    lines = reader.feed(letter.content) + reader.finish()
    # The digest is that of everything before their end, which nobody has here.
    return [line._replace(chain=chain) for line in lines]
