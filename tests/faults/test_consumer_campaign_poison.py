"""One poison event among a hundred, in batches under a checkpoint, also of consumers that die.

It alone ends in the dead letters, and each of the others has its effect once.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.backends import PostgresServer
from support.consumer_campaign_plan import Library, Point, Way
from support.consumer_campaign_scene import Scene, open_scene
from support.processes import Aggregator

EVENTS = 100
POISON = 37

LIBRARIES = {
    "aiosqlite": Library.AIOSQLITE,
    "asyncpg": Library.ASYNCPG,
    "sqlite3": Library.SQLITE3_BLOCKING,
    "psycopg": Library.PSYCOPG_BLOCKING,
}
DEATHS = (
    # Of the whole batch, and of one of ten, as what comes again comes in leases of a tenth.
    (Point.HALVING, 3),
    (Point.HALVING, 1),
    # What comes now is handed out alone.
    (Point.LEAVING, 1),
)
"""Where consumers die, one after the other, and at which visit."""


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty Postgres database, of the consumers."""
    with postgres_server.database() as name:
        yield postgres_server.database_dsn(name)


async def consume(scene: Scene, name: str, *, killed: bool) -> None:
    """Make a subscription, have it consumed, and check what has become of its events."""
    library = LIBRARIES[name.partition(".")[0]]
    await scene.make(name, EVENTS, lease_ms=1_000, max_deliveries=6)
    doing = {"way": Way.RUN_BATCHES, "poison": str(POISON)}
    for point, countdown in DEATHS if killed else ():
        doomed = await scene.consumer(library, name, point=point, countdown=countdown, **doing)
        await doomed.end(-signal.SIGKILL)
    consumer = await scene.consumer(library, name, until_caught_up=True, **doing)
    await consumer.end(0)

    assert await scene.dead(name) == [(POISON, f"{name}/{POISON} is poison")]
    effects = [effect.offset for effect in await scene.effects(library, name)]
    assert effects == [n for n in range(1, EVENTS + 1) if n != POISON]
    found = await scene.look(name)
    assert (found["acknowledged"], found["dead"]) == (EVENTS - 1, 1)


async def test_one_poison_event_of_a_hundred_alone_is_dead_and_the_others_are_done_once(
    run_aggregator: Callable[..., Aggregator], dsn: str, tmp_path: Path
) -> None:
    database = str(tmp_path / "events.db")
    aggregator = await asyncio.to_thread(run_aggregator, "--database", database)
    async with open_scene(aggregator.url, dsn, tmp_path) as scene:
        undisturbed = (consume(scene, name, killed=False) for name in LIBRARIES)
        killed = (consume(scene, f"{name}.killed", killed=True) for name in LIBRARIES)
        await asyncio.gather(*undisturbed, *killed)
