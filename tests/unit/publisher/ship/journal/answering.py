"""A script in the place of journalctl, for what the real one can't be brought to do."""

import asyncio
import sys
from pathlib import Path

from publisher.ship.journal.reader import JournalReader

LIMIT_S = 60.0
SCRIPT = f"""#!{sys.executable}
import os, pathlib, sys
here = pathlib.Path(__file__).parent
runs = here / "runs"
number = len(runs.read_text().splitlines()) if runs.exists() else 0
with runs.open("a") as file:
    print(*sys.argv[1:], file=file)
def entry(number):
    return '{{"__CURSOR":"s=1;i=%x;b=a;m=%x;t=%x;x=%x","N":"%d"}}' % ((number,) * 5)
at = max([int(each.split(";")[1][2:], 16) for each in sys.argv if "--cursor=" in each], default=1)
def put(text):
    print(text, flush=True)
def say(text):
    print(text, file=sys.stderr, flush=True)
def die():
    os.kill(os.getpid(), 9)
"""


def script(directory: Path, body: str) -> None:
    """Make a journalctl: `number` is the number of its run, from 0."""
    path = directory / "journalctl"
    path.write_text(SCRIPT + body)
    path.chmod(0o755)


def runs(directory: Path) -> list[str]:
    """The arguments of each run."""
    return (directory / "runs").read_text().splitlines()


async def read(
    told: list[str], count: int | None = None, *, after: str | None = None, follow: bool = False
) -> list[str]:
    """The cursors that a reader gives, so many or to the end."""
    reader = JournalReader((), after, follow=follow, tell=told.append, first_wait_s=0.001)
    cursors: list[str] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            while count is None or len(cursors) < count:
                cursors.append((await anext(reader)).cursor)
    except StopAsyncIteration:
        pass
    finally:
        await reader.aclose()
    return cursors


def cursors(*numbers: int) -> list[str]:
    """The cursors of the entries of these numbers."""
    return [f"s=1;i={n:x};b=a;m={n:x};t={n:x};x={n:x}" for n in numbers]
