"""Damage of a SQLite file: once found, nothing is written until the file is opened anew.

On a damaged index even a sound batch might get a wrong verdict. Reads go on as far as they can.
"""

from pathlib import Path

from storage.errors import StorageUnavailable
from storage.sqlite.transaction import reports_damage


class DamageRecord:
    """A record of the first damage that SQLite reported, or none.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.sentence: str | None = None
        """What is wrong with the file, and what to do."""

    def inspect(self, error: BaseException | None) -> None:
        """Record the damage that a driver error reports, if it reports any.

        Args:
            error: what was raised; None and other errors report none.
        """
        if reports_damage(error):
            self.adopt(
                f"the database file {self._path!r} is damaged (SQLite: {error}), nothing more is "
                "stored in it: stop the aggregator, see what `python -m aggregator verify` finds, "
                "and restore the file"
            )

    def adopt(self, sentence: str | None) -> None:
        """Record what another record of the same file says, unless there is something already."""
        self.sentence = self.sentence or sentence

    def clear(self) -> None:
        """Forget it: the file is being opened anew."""
        self.sentence = None

    def check(self) -> None:
        """Raise `StorageUnavailable` if the file is damaged."""
        if self.sentence is not None:
            raise StorageUnavailable(self.sentence)
