"""Reading a log as it goes on."""

from pathlib import Path
from typing import Self

from publisher.ship.checkpoint import Known
from publisher.ship.log import Log
from publisher.ship.recognition import ROTATED_QUIET_S


class Reading:
    """A log that is read as it goes on, and closed in the end."""

    def __init__(self, path: Path, known: list[Known] | None = None, *, earlier: bool = True):
        self.log = Log(path, "app", known or [], {k.progress.fingerprint for k in known or []})
        self.now = 0.0
        self.known: dict[str, Known] = {}
        self.log.begin(earlier=earlier)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def read(self) -> list[bytes]:
        """Look and read all that is complete."""
        self.log.look()
        lines = []
        while found := self.log.read(self.now):
            lines += self._taken([found])
        return lines

    def quiet(self) -> list[bytes]:
        """Let the time pass after which a rotated file is let go of."""
        self.now += ROTATED_QUIET_S
        return self._taken(self.log.finished(self.now))

    def _taken(self, found: list) -> list[bytes]:  # type: ignore[type-arg]
        lines = []
        for generation, given in found:
            for line in given:
                lines.append(line.piece.data + line.piece.eol)
                self.known[generation.content] = Known(
                    "app", generation.content, generation.identity, line.progress
                )
        return lines


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def rewrite(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)
