"""Consumers whose lease is lost in the midst of their work: killed, suspended, cut off.

Each consumer is a process that writes an effect for each event under a checkpoint, into its own
database. It stops where the test wants it to.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.backends import Database, PostgresServer
from support.consumer_campaign_gate import Visit
from support.consumer_campaign_plan import Library, Point, Way
from support.consumer_campaign_processes import Consumer, stop
from support.consumer_campaign_scene import Scene, open_scene
from support.processes import Aggregator, suspend

Run = Callable[..., Aggregator]

LONG_MS = 600_000
"""A lease that does not run out here."""
SHORT_MS = 1_000


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty Postgres database, of the consumers."""
    with postgres_server.database() as name:
        yield postgres_server.database_dsn(name)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """An aggregator that is left alone; each test has topics and subscriptions of its own."""
    directory = tmp_path_factory.mktemp("aggregator")
    arguments = ["--database", str(directory / "events.db")]
    aggregator = Aggregator.start(arguments, log=directory / "aggregator.log", cwd=directory)
    yield aggregator.url
    aggregator.kill()


@pytest.fixture
async def scene(url: str, dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on that aggregator."""
    async with open_scene(url, dsn, tmp_path) as scene:
        yield scene


async def done_by(scene: Scene, library: Library, name: str) -> list[tuple[int, int]]:
    """Return the offset and the consumer of each effect, in their order."""
    return [(effect.offset, effect.consumer) for effect in await scene.effects(library, name)]


async def suspended_in_its_block(
    scene: Scene, library: Library, name: str, *stops: Point
) -> tuple[Consumer, Visit]:
    """Return a consumer that has written the effect of one event, and does not run."""
    await scene.make(name, 1, lease_ms=SHORT_MS)
    consumer = await scene.consumer(library, name, Point.WRITTEN, *stops)
    visit = await scene.visit(consumer, Point.WRITTEN)
    await asyncio.to_thread(suspend, psutil.Process(consumer.pid.result()))
    return consumer, visit


async def given_the_same(scene: Scene, library: Library, name: str) -> Consumer:
    """Return a consumer that was given the event of one that is suspended, and has gone on."""
    consumer = await scene.consumer(library, name, Point.BEFORE, Point.WRITTEN)
    before = await scene.visit(consumer, Point.BEFORE)
    assert (before.offsets, before.deliveries) == ([1], 2)
    before.go_on()
    return consumer


async def write(scene: Scene, consumer: Consumer, *fresh: int) -> None:
    """Let a consumer that has written the effects of these events go on."""
    visit = await scene.visit(consumer, Point.WRITTEN)
    assert visit.offsets == [*fresh]
    visit.go_on()


async def goes_on(scene: Scene, consumer: Consumer, other: Consumer, name: str) -> None:
    """Check that a consumer that had lost its lease handles what comes next, and ends."""
    await scene.kill(other)
    await scene.publish(name, 2, 2)
    await write(scene, consumer, 2)
    if Point.DURABLE in consumer.plan.stops:
        (await scene.visit(consumer, Point.DURABLE)).go_on()
    await scene.until_settled(name)
    stop(consumer)
    await consumer.end(0)


async def test_events_of_a_consumer_killed_in_its_block_come_again_and_are_done_once(
    scene: Scene,
) -> None:
    async def killed(library: Library, name: str) -> None:
        await scene.make(name, 10, lease_ms=SHORT_MS)
        consumer = await scene.consumer(library, name, Point.WRITTEN)
        assert (await scene.visit(consumer, Point.WRITTEN)).offsets == [*range(1, 11)]
        other = await scene.consumer(library, name, until_caught_up=True)
        await scene.kill(consumer)
        await other.end(0)
        assert await done_by(scene, library, name) == [(n, other.plan.number) for n in range(1, 11)]
        assert (await scene.look(name))["redelivered"] == 10

    await asyncio.gather(killed(Library.AIOSQLITE, "killed.1"), killed(Library.ASYNCPG, "killed.2"))


async def test_handler_suspended_in_its_block_beyond_its_lease_is_cancelled_and_undone(
    scene: Scene,
) -> None:
    async def lost(library: Library, name: str) -> None:
        consumer, visit = await suspended_in_its_block(scene, library, name)
        other = await given_the_same(scene, library, name)
        os.kill(consumer.pid.result(), signal.SIGCONT)
        await visit.left()
        await write(scene, other, 1)
        await scene.until_settled(name)
        await goes_on(scene, consumer, other, name)
        numbers = (other.plan.number, consumer.plan.number)
        assert await done_by(scene, library, name) == [*enumerate(numbers, start=1)]

    await asyncio.gather(lost(Library.AIOSQLITE, "lost.1"), lost(Library.ASYNCPG, "lost.2"))


async def test_thread_suspended_in_its_block_beyond_its_lease_commits_and_the_next_finds_it_done(
    scene: Scene,
) -> None:
    async def on_sqlite(name: str) -> None:
        library = Library.SQLITE3_BLOCKING
        consumer, visit = await suspended_in_its_block(scene, library, name)
        other = await given_the_same(scene, library, name)
        # It waits for the lock of the other one.
        visit.go_on()
        os.kill(consumer.pid.result(), signal.SIGCONT)
        await write(scene, other)
        await end(library, name, consumer, other)

    async def on_postgres(name: str) -> None:
        library = Library.PSYCOPG_BLOCKING
        consumer, visit = await suspended_in_its_block(scene, library, name, Point.DURABLE)
        other = await given_the_same(scene, library, name)
        theirs = await scene.visit(other, Point.WRITTEN)
        assert theirs.offsets == [1]
        visit.go_on()
        os.kill(consumer.pid.result(), signal.SIGCONT)
        (await scene.visit(consumer, Point.DURABLE)).go_on()
        # It has written the same effect, which is undone.
        theirs.go_on()
        (await scene.visit(other, Point.BEFORE)).go_on()
        await write(scene, other)
        await end(library, name, consumer, other)

    async def end(library: Library, name: str, consumer: Consumer, other: Consumer) -> None:
        await scene.until_settled(name)
        await goes_on(scene, consumer, other, name)
        assert await done_by(scene, library, name) == [(n, consumer.plan.number) for n in (1, 2)]

    await asyncio.gather(on_sqlite("late.1"), on_postgres("late.2"))


async def test_thread_suspended_in_its_block_until_another_has_committed_is_undone(
    scene: Scene,
) -> None:
    library, name = Library.PSYCOPG_BLOCKING, "beaten"
    consumer, visit = await suspended_in_its_block(scene, library, name)
    other = await given_the_same(scene, library, name)
    await write(scene, other, 1)
    await scene.until_settled(name)
    visit.go_on()
    os.kill(consumer.pid.result(), signal.SIGCONT)
    await goes_on(scene, consumer, other, name)
    numbers = (other.plan.number, consumer.plan.number)
    assert await done_by(scene, library, name) == [*enumerate(numbers, start=1)]


async def test_stopped_consumer_ends_what_it_handles_and_the_rest_goes_to_another_at_once(
    scene: Scene,
) -> None:
    await scene.make("orders", 20, lease_ms=LONG_MS)
    asyncpg = Library.ASYNCPG
    consumer = await scene.consumer(asyncpg, "orders", Point.BEFORE, way=Way.RUN)
    begun = await scene.visit(consumer, Point.BEFORE)
    other = await scene.consumer(asyncpg, "orders", Point.BEFORE, until_caught_up=True)
    stop(consumer)
    begun.go_on()
    await consumer.end(0)
    rest = await scene.visit(other, Point.BEFORE)
    # A delivery that was released does not count.
    assert (rest.offsets, rest.deliveries) == ([*range(2, 21)], 1)
    rest.go_on()
    await other.end(0)
    assert await done_by(scene, asyncpg, "orders") == [
        (n, other.plan.number if n > 1 else consumer.plan.number) for n in range(1, 21)
    ]


@pytest.mark.parametrize("backend", ["sqlite"])  # What a database keeps is not the library's.
async def test_lease_outlives_its_aggregator_and_one_that_runs_out_without_it_ends_its_handler(
    run_aggregator: Run, database: Database, dsn: str, tmp_path: Path
) -> None:
    aggregator = await asyncio.to_thread(run_aggregator, *database.arguments())
    port = aggregator.url.rpartition(":")[2]
    asyncpg = Library.ASYNCPG
    async with open_scene(aggregator.url, dsn, tmp_path) as scene:
        await scene.make("long", 10, lease_ms=LONG_MS)
        await scene.make("short", 1, lease_ms=SHORT_MS)
        long = await scene.consumer(asyncpg, "long", Point.WRITTEN, until_caught_up=True)
        short = await scene.consumer(asyncpg, "short", Point.WRITTEN, until_caught_up=True)
        kept = await scene.visit(long, Point.WRITTEN)
        lost = await scene.visit(short, Point.WRITTEN)
        await asyncio.to_thread(aggregator.kill)
        await lost.left()
        await asyncio.to_thread(run_aggregator, *database.arguments(), "--port", port)
        again = await scene.visit(short, Point.WRITTEN)
        assert again.offsets == [1]
        again.go_on()
        kept.go_on()
        await long.end(0)
        await short.end(0)
        assert [offset for offset, _ in await done_by(scene, asyncpg, "long")] == [*range(1, 11)]
        assert [offset for offset, _ in await done_by(scene, asyncpg, "short")] == [1]
        assert (await scene.look("long"))["redelivered"] == 0
        assert (await scene.look("short"))["redelivered"] == 1
