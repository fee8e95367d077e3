"""What tests of the real process share."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.own_postgres import OwnPostgres, own_postgres
from support.processes import Aggregator

TEN_THOUSAND = 10_000
KEPT_BACK = 3000
"""Descriptors that are left to the tests, and to the aggregator for itself."""


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


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """So many sockets this process may have, at most ten thousand."""
    resource = pytest.importorskip("resource", reason="limits on descriptors are those of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = TEN_THOUSAND + KEPT_BACK
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    yield min(TEN_THOUSAND, limit - min(KEPT_BACK, limit // 2))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
