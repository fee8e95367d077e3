"""A real aggregator on a SQLite file of the test's own, and what may be done to both."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.processes import Aggregator, wait_for

_LIMIT_S = 30.0

# Root without the right to pass over file modes; for anybody else the modes bind anyway.
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are dropped from what the next program may have.
_UNPRIVILEGED = """
import ctypes, os, sys
PR_CAPBSET_DROP = 24
for capability in (1, 2):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "aggregator", *sys.argv[1:]])
"""
UNPRIVILEGED = ("-c", _UNPRIVILEGED)
"""The program of `Aggregator.spawn`, for whom file modes bind."""

# Puts SQLite on the stranger's side: it says so once it has done what it was told to do.
_STRANGER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("done", flush=True)
sys.stdin.read()
"""


def arguments(path: Path, *more: str) -> list[str]:
    """The command line for this file."""
    return ["--backend", "sqlite", "--database", str(path), *more]


def companions(path: Path) -> list[Path]:
    """The -wal and the -shm file."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm")]


def refusal(path: Path, log: Path, program: tuple[str, ...] = ("-m", "aggregator")) -> str:
    """What an aggregator says that is started on this file and can't use it."""
    started = Aggregator.spawn(arguments(path), log=log, cwd=log.parent, program=program)
    try:
        assert started.process.wait(_LIMIT_S) == 2, started.written().decode()
        written = started.written().decode()
    finally:
        started.kill()
    assert "Traceback" not in written
    last = written.splitlines()[-1]
    assert last.startswith("aggregator: ")
    return last


@contextmanager
def unprivileged_aggregator(path: Path, log: Path) -> Iterator[Aggregator]:
    """An aggregator for whom file modes bind, listening."""
    started = Aggregator.spawn(arguments(path), log=log, cwd=log.parent, program=UNPRIVILEGED)
    try:
        wait_for(started.listening, "the socket")
        yield started
    finally:
        started.kill()


@contextmanager
def stranger(path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has run these statements and keeps its connection open."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STRANGER, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate(timeout=_LIMIT_S)


def assert_intact(path: Path) -> None:
    """What SQLite itself says of every page and every index."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def moved(path: Path, to: Path) -> None:
    """Rename, for tests in an event loop."""
    path.replace(to)


def removed(*paths: Path) -> None:
    """Unlink, for tests in an event loop."""
    for path in paths:
        path.unlink()


def size(path: Path) -> int:
    """In bytes; 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def private_mount(megabytes: int, spare: int) -> tuple[str, ...]:
    """The program of `Aggregator.spawn` that runs it on a file system of its own.

    It is mounted over the working directory, where nobody else sees it but through
    /proc/PID/cwd; `spare` MB of it are taken by a file named "ballast".
    """
    return ("-c", _MOUNTED.format(megabytes=megabytes, spare=spare))


_MOUNTED = """
import ctypes, os, pathlib, sys
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x00020000, 0x10000000, 0x4000, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)
uid, gid, here = os.geteuid(), os.getegid(), os.getcwd().encode()
def done(result):
    if result:
        sys.exit(77)
if libc.unshare(CLONE_NEWNS):
    # Not allowed; but everybody may be root in a world of their own, on most machines.
    done(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    me = pathlib.Path("/proc/self")
    (me / "setgroups").write_text("deny")
    (me / "uid_map").write_text(f"0 {{uid}} 1")
    (me / "gid_map").write_text(f"0 {{gid}} 1")
done(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
done(libc.mount(b"none", here, b"tmpfs", 0, b"size={megabytes}m"))
os.chdir(here)
pathlib.Path("ballast").write_bytes(bytes({spare} * 2**20))
os.execv(sys.executable, [sys.executable, "-m", "aggregator", *sys.argv[1:]])
"""
NOT_ALLOWED = 77
"""The exit code of that program where mounting is not allowed."""


def inside(started: Aggregator, name: str) -> Path:
    """A file of the working directory as the process sees it."""
    return Path(f"/proc/{started.process.pid}/cwd/{name}")


def descriptors(started: Aggregator) -> int:
    """The lowest number that no open file of the process has."""
    taken = {int(name.name) for name in Path(f"/proc/{started.process.pid}/fd").iterdir()}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def open_files(path: Path, pid: int | None = None) -> list[str]:
    """The descriptors of a process on this database: the file itself, its -wal and its -shm."""
    names = []
    for descriptor in Path(f"/proc/{pid or 'self'}/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that the directory is read through
            names.append(str(descriptor.readlink()))
    ends = ("", "-wal", "-shm")
    real = str(path.resolve())
    return sorted(name.removeprefix(real) for name in names if name in {real + e for e in ends})
