"""The stages of a run: first the unit tests that start no process, which are held to that."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

STAGES = ("quick", "rest")
PERMISSION = "processes"
"""The fixture that a test or its fixtures use to start a process or a database server."""

_UNIT_TESTS = Path(__file__).parents[1] / "unit"
_STARTING = frozenset(
    {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
)
"""What Python tells an audit hook of before it starts a process."""
_POSTGRES_PORT = 5432
_POSTGRES_SOCKET = ".s.PGSQL."


def starts_processes(item: pytest.Item) -> bool:
    """Whether a test may start a process or a database server, as its fixtures tell."""
    return PERMISSION in getattr(item, "fixturenames", ())


def is_quick(item: pytest.Item) -> bool:
    """Whether a test belongs to the first stage: a unit test that starts nothing."""
    return item.path.is_relative_to(_UNIT_TESTS) and not starts_processes(item)


def select(stage: str, items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of a stage, and the others; each test is in one of `STAGES`."""
    selected: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (selected if is_quick(item) == (stage == "quick") else others).append(item)
    return selected, others


class _Guard:
    """Refuses what starts a process or reaches Postgres, while a test is held to do neither."""

    def __init__(self) -> None:
        self.refused: list[str] | None = None
        """What was refused in the test under way; None while everything is allowed."""

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python calls this for all kinds of events, most of which are none of a test's doing."""
        if self.refused is None:
            return
        if event in _STARTING:
            self.refuse(f"starts a process ({event}: {arguments[:2]!r})")
        elif event == "socket.connect" and _is_postgres(arguments[1]):
            self.refuse(f"connects to Postgres at {arguments[1]!r}")

    async def create_subprocess(self, *arguments: object, **_: object) -> NoReturn:
        """In the place of asyncio's functions: uvloop starts processes without an event."""
        self.refuse(f"starts a process ({arguments!r})")

    def refuse(self, what: str) -> NoReturn:
        """Fail the test, also where what it calls takes the exception for one of its own."""
        assert self.refused is not None
        self.refused.append(what)
        pytest.fail(self.sentence(), pytrace=True)

    def sentence(self) -> str:
        """What is wrong, and what to do."""
        return (
            f"this unit test {'; '.join(self.refused or [])}, but does not use the fixture"
            f' `{PERMISSION}`: add pytest.mark.usefixtures("{PERMISSION}"), so that'
            " `tox -e quick` leaves it out"
        )


_guard = _Guard()
sys.addaudithook(_guard.audit)


@contextmanager
def nothing_is_started() -> Iterator[list[str]]:
    """Fails the test if it starts a process or connects to Postgres before the context ends.

    Yields:
        what was refused so far; the test fails at the end if there is any left.
    """
    before, _guard.refused = _guard.refused, []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "create_subprocess_exec", _guard.create_subprocess)
            patch.setattr(asyncio, "create_subprocess_shell", _guard.create_subprocess)
            yield _guard.refused
        if _guard.refused:
            pytest.fail(_guard.sentence(), pytrace=False)
    finally:
        _guard.refused = before


def refused_so_far() -> list[str] | None:
    """What was refused in the test under way; None if it may start what it likes."""
    return _guard.refused


def _is_postgres(address: object) -> bool:
    if isinstance(address, tuple):
        return address[1:2] == (_POSTGRES_PORT,)
    return _POSTGRES_SOCKET in str(address)
