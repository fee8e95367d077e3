"""Rows of subscriptions' topics do not rot: what is read stays the same while nothing is pruned.

An UPDATE leaves a dead version of its row behind. As long as somebody's snapshot is older, none is
taken away, and whoever looks up a row that is updated in place passes all of them.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.backends import Database
from support.commanding import acknowledgement, creation, fill, lease, one, views
from support.observer import Observer

from storage.postgres.session import own
from storage.postgres.store import PostgresStore
from storage.postgres.subscription_changes import CHANGE, change_arguments
from storage.postgres.subscription_loading import load, statement
from storage.postgres.subscription_rows import CHANGES_PER_ROW
from storage.postgres.subscription_views import NAMED, READY
from storage.subscriptions.commands import Settle, Token
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.workspace import needs

_PAIRS = 1000
_MOST_BUFFERS = 40
_STATEMENTS = ("command", "settle", "view", "ready topics")


@pytest.fixture
def backend() -> str:
    return "postgres"


@asynccontextmanager
async def horizon_held(database: Database) -> AsyncIterator[None]:
    """A snapshot of somebody else that is older than all that comes."""
    async with Observer.on(database) as stranger:
        transaction = stranger.connection.transaction(isolation="repeatable_read")
        await transaction.start()
        await stranger.fetch("SELECT FROM topics")
        yield
        await transaction.rollback()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The plan, and all that is below it."""
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


async def explained(store: PostgresStore, name: str) -> dict[str, Any]:
    """The plan of a statement that reads, run by the connection that changes the rows.

    Nobody has told the planner that there is more than a row.
    """
    async with store._subscriber() as connection:
        id_ = await connection.fetchval("SELECT id FROM subscriptions")
        shown = Token(id_, "none", "c", (("t", 1, 1),))
        settle = Settle(name="s", token=shown, ack=shown.extents, digest=b"1")
        sql, arguments = {
            "command": statement(needs([lease()])),
            "settle": statement(needs([settle])),
            "view": (NAMED, [id_, ["t"]]),
            "ready topics": (READY, [[id_], 1000]),
        }[name]
        if name not in {"view", "ready topics"}:
            arguments = [own(connection).marker, *arguments]
        text = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *arguments
        )
        plan: dict[str, Any] = json.loads(text)[0]["Plan"]
        return plan


def buffers(plan: dict[str, Any]) -> int:
    """How many pages a statement visited."""
    visited: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return visited


async def buffers_of_a_change(store: PostgresStore) -> int:
    """How many pages the statement visits that writes a lease, which it does."""
    commands = [lease(most=1)]
    wanted = needs(commands)
    async with store._subscriber() as connection:
        read = await load(connection, wanted)
        decisions = Decisions(read.loaded)
        decisions.decide(commands[0])
        arguments = change_arguments(wanted, read, decisions.changes)
        text = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CHANGE}", own(connection).marker, *arguments
        )
        return buffers(json.loads(text)[0]["Plan"])


async def consume(store: PostgresStore, pairs: int) -> None:
    """Lease and settle so many events, one by one."""
    for number in range(pairs):
        taken = lease(most=1)
        await one(store, acknowledgement(taken, await one(store, taken), b"%d" % number))


async def test_nothing_that_is_read_grows_while_no_version_is_pruned(
    database: Database, store: PostgresStore
) -> None:
    await fill(store, number=_PAIRS + 1)
    await one(store, creation())
    async with horizon_held(database):
        await consume(store, _PAIRS)
        visited = {name: buffers(await explained(store, name)) for name in _STATEMENTS}
        visited["change"] = await buffers_of_a_change(store)
    assert max(visited.values()) <= _MOST_BUFFERS, visited
    assert (await views(store))["t"].state.acknowledged == _PAIRS


async def test_a_row_that_is_always_updated_in_place_does_grow(
    database: Database, store: PostgresStore
) -> None:
    """What the test before would find, were no row written anew."""
    await fill(store, number=2)
    await one(store, creation())
    await one(store, lease(most=1))
    visited = []
    async with horizon_held(database), Observer.on(database) as observer:
        await observer.connection.execute(
            "CREATE TABLE plain (LIKE subscription_topics, PRIMARY KEY (subscription, topic)) "
            "WITH (fillfactor = 50); INSERT INTO plain SELECT * FROM subscription_topics"
        )
        for _ in range(2):
            await observer.connection.execute(
                f"DO $$ BEGIN FOR n IN 1..{2 * _PAIRS} LOOP "
                "UPDATE plain SET revision = revision + 1 "
                "WHERE subscription = (SELECT id FROM subscriptions) AND topic = 't'; "
                "COMMIT; END LOOP; END $$"
            )
            text = await observer.connection.fetchval(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM plain "
                "WHERE subscription = (SELECT id FROM subscriptions) AND topic = 't'"
            )
            visited.append(buffers(json.loads(text)[0]["Plan"]))
    assert visited[0] > _MOST_BUFFERS
    assert visited[1] > 1.5 * visited[0]


@pytest.mark.parametrize("name", _STATEMENTS)
async def test_the_newest_row_is_read_backward_and_ends_the_search(
    store: PostgresStore, name: str
) -> None:
    await fill(store, number=1)
    await one(store, creation())
    await one(store, lease())
    found = list(nodes(await explained(store, name)))
    scans = [each for each in found if each.get("Relation Name") == "subscription_topics"]
    assert scans
    for scan in scans:
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}, scan
        assert scan["Scan Direction"] == "Backward", scan
        assert scan["Index Name"] == "subscription_topics_pkey"
    parents = [
        each["Node Type"]
        for each in found
        if any(inner in scans for inner in each.get("Plans", []))
    ]
    assert set(parents) == {"Limit"}
    assert not {each["Node Type"] for each in found} & {"Sort", "Incremental Sort", "Seq Scan"}


async def test_changes_are_hot_while_versions_can_be_pruned(
    database: Database, store: PostgresStore
) -> None:
    await fill(store, number=200)
    await one(store, creation())
    await consume(store, 100)
    async with Observer.on(database) as observer:
        async with store._subscriber() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
        ((inserted, deleted, updated, hot),) = await observer.fetch(
            "SELECT n_tup_ins, n_tup_del, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
            "WHERE relname = 'subscription_topics'"
        )
        ((row_version, revision),) = await observer.fetch(
            "SELECT row_version, revision FROM subscription_topics"
        )
    assert (inserted + updated, inserted - deleted) == (200, 1)
    assert 200 // CHANGES_PER_ROW <= deleted <= 200 // CHANGES_PER_ROW + 1
    assert hot == updated
    assert row_version == revision // CHANGES_PER_ROW
