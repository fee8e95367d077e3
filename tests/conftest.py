"""What every test may ask for: the backends, a store, an application, a real process."""

import contextlib
import itertools
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, settings
from support.backends import BACKENDS, Database, PostgresServer, new_database
from support.http import Client, MakeClient
from support.processes import Aggregator
from support.served import Served
from support.stages import PERMISSION, STAGES, is_quick, nothing_is_started, select

from aggregator.app import create_app
from aggregator.settings.model import Settings
from storage.protocols import EventStore

# Time on a shared machine says nothing about a property, hence no deadline anywhere.
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", max_examples=50, stateful_step_count=20, derandomize=True, deadline=None,
    database=None, suppress_health_check=_SLOW_IS_FINE,
)  # fmt: skip
# For what runs once more with other versions: their differences show in few examples.
settings.register_profile(
    "brief", max_examples=10, stateful_step_count=20, derandomize=True, deadline=None,
    database=None, suppress_health_check=_SLOW_IS_FINE,
)  # fmt: skip
settings.register_profile(
    "default", max_examples=100, deadline=None, suppress_health_check=_SLOW_IS_FINE
)
settings.register_profile(
    "nightly", max_examples=2000, stateful_step_count=50, deadline=None,
    suppress_health_check=_SLOW_IS_FINE,
)  # fmt: skip
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_report_header() -> str:
    """What the tests run with: environments differ in little else."""
    needed = "\n".join(metadata.requires("pubsub-log-aggregator") or [])
    versions = [f"SQLite {sqlite3.sqlite_version}"]
    for name in sorted(set(re.findall(r"^[\w.-]+", needed, re.MULTILINE))):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return f"with: {', '.join(versions)}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--stage`; without it every test runs."""
    parser.addoption(
        "--stage",
        choices=STAGES,
        help="quick: the unit tests that start no process and no database server; rest: the others",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is for the long campaigns on some of its parameters, and leave out other stages."""
    for item in items:
        at_length = item.get_closest_marker("at_length")
        if at_length is not None and any(f"[{each}" in item.name for each in at_length.args):
            item.add_marker("long")
    if stage := config.getoption("stage"):
        items[:], others = select(stage, items)
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a test of the first stage to starting nothing."""
    with nothing_is_started() if is_quick(item) else contextlib.nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The same."""
    with nothing_is_started() if is_quick(item) else contextlib.nullcontext():
        return (yield)


@pytest.fixture(scope="session", name=PERMISSION)
def _processes() -> None:
    """Says that a test starts processes or a database server, itself or by its fixtures."""


@pytest.fixture(scope="session")
def postgres_server(processes: None) -> Iterator[PostgresServer]:
    """A Postgres server: the one that AGGREGATOR_TEST_DSN names, or one started here."""
    with PostgresServer.running(os.environ.get("AGGREGATOR_TEST_DSN")) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    name: str = request.param
    return name


@pytest.fixture
def database(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, processes: None
) -> Iterator[Database]:
    """An empty database of the backend, for this test alone."""
    server = request.getfixturevalue("postgres_server") if backend == "postgres" else None
    with new_database(backend, tmp_path, server) as database:
        yield database


@pytest.fixture
async def store(database: Database) -> AsyncIterator[EventStore]:
    """An open store on that database; `database.store()` makes more."""
    store = database.store()
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def in_process_store(database: Database) -> AsyncIterator[EventStore]:
    """An open store on that database which writes in this process, so that a test can reach in."""
    store = database.in_process_store()
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def fast_path() -> str:
    """Whether publishes may go the short way, as the setting has it; a module may ask for both."""
    return "auto"


@pytest.fixture
async def make_client(database: Database, fast_path: str) -> AsyncIterator[MakeClient]:
    """Make clients of an application that is served on the test's database."""
    clients: list[Client] = []

    async def make(store: EventStore | None = None, **changes: object) -> Client:
        configured = Settings.from_values(database.settings() | {"fast_path": fast_path} | changes)
        server = Served(create_app(configured, store), fast_path=configured.fast_path == "auto")
        client: Client = TestClient(server)
        # As aggregator.server runs it.
        await server.start_server(auto_decompress=False)
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    """A client of the application with its default settings."""
    return await make_client()


@pytest.fixture
def run_aggregator(tmp_path: Path, processes: None) -> Iterator[Callable[..., Aggregator]]:
    """Starts a real aggregator process: `run_aggregator("--backend", "sqlite", ...)`."""
    started: list[Aggregator] = []
    numbers = itertools.count()

    def run(*arguments: str, env: dict[str, str] | None = None) -> Aggregator:
        # Some tests start several at once, in threads.
        log = tmp_path / f"aggregator-{next(numbers)}.log"
        aggregator = Aggregator.start(arguments, log=log, cwd=tmp_path, env=env)
        started.append(aggregator)
        return aggregator

    yield run
    for aggregator in started:
        aggregator.kill()
