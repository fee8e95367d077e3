"""Which entries of which journal are read, in the options of journalctl."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import iglob
from pathlib import Path

from publisher.ship.journal.errors import JournalUnreadable

_WITH_VALUE = (
    "--directory",
    "--facility",
    "--file",
    "--identifier",
    "--namespace",
    "--priority",
    "--unit",
    "--user-unit",
)
_WITHOUT_VALUE = ("--merge", "--system", "--user")
_UNITS = ("--unit=", "--user-unit=")
_MATCH = re.compile(r"[A-Z0-9_]{1,64}=.*", re.DOTALL)
_PATTERN = re.compile(r"[*?[]")

FileStates = frozenset[tuple[str, int, int, int]]
"""Path, inode, size in bytes and time of the last change in nanoseconds of each file."""


def journal_arguments(
    paths: Sequence[str] = (),
    *,
    units: Sequence[str] = (),
    identifiers: Sequence[str] = (),
    matches: Sequence[str] = (),
) -> tuple[str, ...]:
    """Put the arguments of journalctl together.

    Args:
        paths: one directory of journals, or journal files and patterns of such; none for the
            journal of this machine.
        units: names of units, any of which an entry may have.
        identifiers: syslog identifiers, any of which an entry may have.
        matches: `FIELD=VALUE`, as journalctl takes them.

    Returns:
        The arguments of a `JournalReader`.

    Raises:
        JournalUnreadable: a path is not there, or the paths do not go together.
    """
    arguments: list[str] = []
    for path in paths:
        absolute = Path(path).absolute()
        if absolute.is_dir():
            if len(paths) > 1:
                raise JournalUnreadable(
                    f"{path!r} is a directory of journals, which goes alone: name no other journal"
                )
            arguments.append(f"--directory={absolute}")
        elif list(iglob(str(absolute))):  # noqa: PTH207 - Path.glob takes no absolute pattern
            arguments.append(f"--file={absolute}")
        else:
            raise JournalUnreadable(f"there is no journal {path!r}: name a directory or a file")
    arguments += [f"--unit={unit}" for unit in units]
    arguments += [f"--identifier={identifier}" for identifier in identifiers]
    arguments += matches
    return tuple(arguments)


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries that journalctl is asked for.

    Args:
        arguments: options of journalctl that choose entries, each with its value behind a `=`, and
            matches.

    Raises:
        JournalUnreadable: an argument is of another kind.
    """

    arguments: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the arguments."""
        for argument in self.arguments:
            name, equals, _ = argument.partition("=")
            known = name in _WITH_VALUE if equals else name in _WITHOUT_VALUE
            if not (known or argument == "+" or _MATCH.fullmatch(argument)):
                options = ", ".join(f"{option}=…" for option in _WITH_VALUE)
                raise JournalUnreadable(
                    f"{argument!r} does not choose entries of a journal: only {options}, "
                    f"{', '.join(_WITHOUT_VALUE)} and FIELD=VALUE do"
                )

    @property
    def directory(self) -> str | None:
        """The directory of the journals, if it is one that was named."""
        return next(self._values("--directory"), None)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were named, and patterns of such."""
        return tuple(self._values("--file"))

    def check_following(self) -> None:
        """Refuse what journalctl can't follow without leaving something out.

        Raises:
            JournalUnreadable: a unit is a pattern.
        """
        for argument in self.arguments:
            if argument.startswith(_UNITS) and _PATTERN.search(argument):
                raise JournalUnreadable(
                    f"{argument!r} can't be followed: journalctl looks only at its start which "
                    "units a pattern names, so name the units, or read without --follow"
                )

    def writers(self) -> list[str]:
        """The beginnings of the names of journals in the directory, one for each writer."""
        if self.directory is None:
            return []
        names = {path.name for path in Path(self.directory).glob("*.journal*")}
        begins = {name.partition("@")[0].partition(".journal")[0] for name in names}
        return sorted({"system" if begin.startswith("user-") else begin for begin in begins})

    def file_states(self) -> FileStates:
        """How the files look, which changes with every entry that is written to one of them."""
        return frozenset(self._states())

    def _states(self) -> Iterator[tuple[str, int, int, int]]:
        for pattern in self.files:
            for path in iglob(pattern):  # noqa: PTH207 - Path.glob takes no absolute pattern
                try:
                    state = Path(path).stat()
                except OSError:
                    continue
                yield path, state.st_ino, state.st_size, state.st_mtime_ns

    def _values(self, option: str) -> Iterator[str]:
        for argument in self.arguments:
            name, equals, value = argument.partition("=")
            if equals and name == option:
                yield value
