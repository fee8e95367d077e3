"""A PgBouncer of the test's own in front of a Postgres server."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.own_postgres import OwnPostgres
from support.processes import wait_for
from support.programs import program

_LIMIT_S = 30.0


class PgBouncer:
    """A pooler on a port of this machine, the same over every stop and start."""

    def __init__(self, directory: Path, user: str | None) -> None:
        self._directory = directory
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def configure(self, server: OwnPostgres, users: tuple[str, ...], settings: str) -> None:
        """Write its configuration; what is there already is used as it is."""
        users_file = self._directory / "users"
        users_file.write_text("".join(f'"{user}" ""\n' for user in users), "utf-8")
        config = f"""
[databases]
* = host={server.socket.parent} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users_file}
logfile = {self._directory}/log
{settings}
"""
        (self._directory / "ini").write_text(config, "utf-8")

    def dsn_for(self, user: str, database: str) -> str:
        """The DSN of a user and a database behind it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [program("pgbouncer"), "-q", self._directory / "ini"],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens, "PgBouncer")

    def stop(self) -> None:
        """End it at once, with the connections through it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_LIMIT_S)
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text("utf-8")
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def pgbouncer(
    server: OwnPostgres, *settings: str, users: tuple[str, ...] = ("postgres",)
) -> Iterator[PgBouncer]:
    """One that runs, with these lines in its configuration, for users without a password."""
    with tempfile.TemporaryDirectory(prefix="aggregator-pgbouncer-") as directory:
        # It refuses to run as root, as Postgres does.
        os.chmod(directory, 0o777)  # noqa: PTH101
        pooler = PgBouncer(Path(directory), server.user)
        pooler.configure(server, users, "\n".join(settings))
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()
