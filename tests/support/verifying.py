"""Running `verify` on a database, and damaging one past the store."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import asyncpg

from aggregator.__main__ import main
from storage.model import Event
from support.backends import Database
from support.events import event

ORDERS = [
    event("orders", "a"),
    event("orders", "b"),
    event("orders", "c"),
    event("orders", "a"),
    event("orders", "b", source="elsewhere"),
]
SHIPMENTS = [event("shipments", "x"), event("shipments", "y")]
SOUND = """\
topic      received  unique_processed  duplicate_dropped  conflicts  rows  head_offset  verdict
orders            5                 3                  2          1     3            3  ok
shipments         2                 2                  0          0     2            2  ok
total             7                 5                  2          1     5               ok

Everything agrees: 5 rows in 2 topics recounted in one snapshot.
"""
"""What verify prints of a database with these two batches."""

INDEXES = {
    "sqlite": {"key": "sqlite_autoindex_events_2"},
    "postgres": {
        "place": "events_pkey",
        "key": "events_topic_event_id_key",
        "range": "appends_pkey",
    },
}
"""The indexes that are not the table itself, by what they order."""

ONE_MORE = """UPDATE topics SET received = received + 1, unique_processed = unique_processed + 1
WHERE topic = 'orders'"""
"""Counts a row more in the topic "orders"."""

ONE_LESS = ONE_MORE.replace("+ 1", "- 1")
"""Counts a row less."""

RECORD = (
    "DELETE FROM appends",
    """INSERT INTO appends
    SELECT ts_ingest, topic, min("offset"), max("offset") FROM (
        SELECT ts_ingest, topic, "offset", "offset" - row_number() OVER (
            PARTITION BY topic, ts_ingest ORDER BY "offset") AS island
        FROM (SELECT DISTINCT ts_ingest, topic, "offset" FROM events WHERE "offset" > 0) AS e
    ) AS e GROUP BY ts_ingest, topic, island""",
)
"""Makes the table of appends follow the table of events, as an index would."""

DELETE = "DELETE FROM events WHERE topic = 'orders' AND \"offset\" = {}"
"""Deletes the row of an offset."""

_SQLITE_TRIGGERS = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
_POSTGRES_TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('topics')"

_UNIQUE_KEY = "UNIQUE (topic, event_id)"


def copy_of_a(place: str, event_id: str = "event_id") -> str:
    """Stores another row like the event "a"."""
    return f"""INSERT INTO events
        SELECT topic, {place}, {event_id}, timestamp, ts_ingest, source, payload
        FROM events WHERE topic = 'orders' AND event_id = 'a' AND "offset" = 1"""


def change_b(change: str) -> str:
    """Changes the row of the event "b", which has the offset 2."""
    return f"UPDATE events SET {change} WHERE topic = 'orders' AND \"offset\" = 2"


class Verified(NamedTuple):
    """How it ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def differences(self) -> list[str]:
        """The sentences about what does not agree."""
        return [line[2:] for line in self.out.splitlines() if line.startswith("- ")]

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each topic, and on the total, by topic."""
        table = self.out.partition("\n\n")[0].splitlines()[1:]
        return {line.split()[0]: line.rsplit("  ", 1)[1] for line in table}


def verified(database: Database, *arguments: str) -> Verified:
    """Run `verify` in this process; it must not give up."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["verify", *database.arguments(), *arguments])
    return Verified(code, out.getvalue(), err.getvalue())


def differences(database: Database) -> list[str]:
    """The differences, but for what SQLite has to say of its own constraints."""
    ended = verified(database)
    assert ended.err == ""
    assert ended.code == (1 if ended.differences else 0)
    return [each for each in ended.differences if "SQLite: CHECK constraint failed" not in each]


def fill(database: Database, *batches: Sequence[Event]) -> None:
    """Make the schema and append the batches through a store of its own."""

    async def run() -> None:
        store = database.in_process_store()
        await store.open()
        try:
            for batch in batches:
                await store.append(batch)
        finally:
            await store.aclose()

    _run(run())


def execute(database: Database, *statements: str) -> None:
    """Run statements past the store: with no trigger, and on SQLite no CHECK, in force.

    A statement about a trigger has them in force.
    """
    without_triggers = not any("TRIGGER" in statement for statement in statements)
    if database.backend == "sqlite":
        with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            triggers = connection.execute(_SQLITE_TRIGGERS).fetchall() if without_triggers else []
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)
            for _, sql in triggers:
                connection.execute(sql)
        return

    async def run() -> None:
        connection = await asyncpg.connect(database.dsn)
        try:
            off = without_triggers and await connection.fetchval(_POSTGRES_TRIGGERS)
            if off:
                await connection.execute("ALTER TABLE topics DISABLE TRIGGER USER")
            for statement in statements:
                await connection.execute(statement)
            if off:
                await connection.execute("ALTER TABLE topics ENABLE TRIGGER USER")
        finally:
            await connection.close()

    _run(run())


@contextmanager
def index_set_aside(database: Database, what: str) -> Iterator[None]:
    """In the meantime nothing is written to this index; after it, it is back as it was."""
    name = INDEXES[database.backend][what]
    if database.backend == "postgres":
        of_it = f"WHERE indexrelid = '{name}'::regclass"
        three = "indisready = {0}, indisvalid = {0}, indislive = {0}"
        execute(database, f"UPDATE pg_index SET {three.format('false')} {of_it}")
        yield
        execute(database, f"UPDATE pg_index SET {three.format('true')} {of_it}")
        return
    saved = forget_index(database, name)
    yield
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", saved)
        if what == "key":
            _rewrite_events(connection, "CHECK (true)", _UNIQUE_KEY)
        connection.execute("COMMIT")


def forget_index(database: Database, name: str) -> tuple[Any, ...]:
    """Take an index, and the constraint it is for, out of SQLite's schema; returns its entry."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        entry: tuple[Any, ...] = connection.execute(
            "SELECT * FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
        connection.execute("DELETE FROM sqlite_schema WHERE name = ?", (name,))
        if name.startswith("sqlite_autoindex"):
            _rewrite_events(connection, _UNIQUE_KEY, "CHECK (true)")
        connection.execute("COMMIT")
        return entry


def _rewrite_events(connection: sqlite3.Connection, old: str, new: str) -> None:
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'events'", (old, new)
    )


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)
