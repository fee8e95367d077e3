"""What tests of the real process share."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.own_postgres import OwnPostgres, own_postgres
from support.processes import Aggregator


class OwnDatabase(NamedTuple):
    """An empty database on a server that the test may stop, kill and start."""

    server: OwnPostgres
    dsn: str

    def arguments(self) -> list[str]:
        """The command line that names it."""
        return ["--backend", "postgres", "--dsn", self.dsn]

    def execute(self, statement: str) -> None:
        """Run one statement in it, from outside any event loop."""
        self.server.execute(statement, self.dsn)


@pytest.fixture(scope="session")
def _own_server() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def own_database(_own_server: OwnPostgres) -> Iterator[OwnDatabase]:
    """An empty database on a running server; whatever the test does to the server is undone."""
    _own_server.start()
    name = f"test_{uuid.uuid4().hex}"
    _own_server.execute(f"CREATE DATABASE {name}")
    yield OwnDatabase(_own_server, _own_server.dsn_for("postgres", database=name))
    _own_server.start()
    _own_server.execute("ALTER SYSTEM RESET ALL")
    _own_server.execute("SELECT pg_reload_conf()")
    _own_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url(run_aggregator: Callable[..., Aggregator], tmp_path: Path) -> str:
    """A real aggregator, for what does not depend on the backend."""
    return run_aggregator("--backend", "sqlite", "--database", str(tmp_path / "events.db")).url
