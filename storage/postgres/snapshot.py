"""Snapshot of a Postgres log: one transaction, repeatable read and read only.

A table and its indexes can come apart, and a statement that reads one through the other
hides just that. So each statement is planned with all other ways to read switched off: the
table is scanned as it lies and sorted by the server, which spills to its disk; an index is
read by itself, and that it is the right one is checked before. Statements wait for nothing:
the session has no limit of time, and a cursor fetches a block at a time.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

import asyncpg

from storage.audit.snapshot import (
    KEY,
    PLACE,
    RANGE,
    Blocks,
    Extent,
    LogDamaged,
    Row,
    index_fault,
    missing_triggers,
)
from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.migrations import pending
from storage.postgres.errors import CUT_OFF, UNUSABLE, translated, unusable
from storage.postgres.schema import find_logs, log_of
from storage.postgres.session import set_settings, use_exact_times
from storage.postgres.snapshot_structure import INDEXED, TRIGGERS, Index, find_indexes
from storage.postgres.subscription_snapshot import PostgresSubscriptionTables

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 30.0
_BLOCK_WHOLE_ROWS = 1000
_INLINE_PAYLOAD_BYTES = 16_384
"""Larger payloads are fetched one at a time, so that a block has a bound in bytes."""

_SESSION = {
    "application_name": "pubsub-log-aggregator verify",
    "timezone": "UTC",
    "jit": "off",
    "work_mem": "64MB",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_NO_TRANSACTION_TIMEOUT = """
SELECT set_config('transaction_timeout', '0', true)
WHERE current_setting('transaction_timeout', true) IS NOT NULL"""

_BY_TABLE = ("enable_seqscan", "enable_sort")
_BY_INDEX = ("enable_indexscan", "enable_indexonlyscan")
_NEITHER = {"enable_bitmapscan": "off", "enable_incremental_sort": "off"}
TABLE_ALONE = dict.fromkeys(_BY_TABLE, "on") | dict.fromkeys(_BY_INDEX, "off") | _NEITHER
INDEX_ALONE = dict.fromkeys(_BY_TABLE, "off") | dict.fromkeys(_BY_INDEX, "on") | _NEITHER

_EXTENT = """
SELECT count(*), coalesce(sum(unique_processed), 0)::text, coalesce(max(length(topic)), 0),
       length(coalesce(sum(received), 0)::text)
FROM topics"""

_COUNTS = """
SELECT topic, received, unique_processed, duplicate_dropped, conflicts, last_ts_ingest
FROM topics ORDER BY topic"""

ROWS = f"""
SELECT topic, "offset", event_id, timestamp, ts_ingest, source,
       CASE WHEN octet_length(payload::text) <= {_INLINE_PAYLOAD_BYTES} THEN payload::text END,
       ctid
FROM events"""
_PAYLOAD = "SELECT payload::text FROM events WHERE ctid = $1"

TABLE = 'SELECT topic, "offset", event_id, ts_ingest FROM events ORDER BY topic, "offset"'
PLACES = 'SELECT topic, "offset" FROM events ORDER BY topic, "offset"'
KEYS = "SELECT topic, event_id FROM events ORDER BY topic, event_id"
RANGES = """
SELECT topic, first_offset, last_offset, ts_ingest FROM appends ORDER BY topic, first_offset"""
RANGE_ENTRIES = """
SELECT ts_ingest, topic, first_offset FROM appends ORDER BY ts_ingest, topic, first_offset"""
DOUBLED = """
SELECT topic, event_id, count(*) FROM events
GROUP BY topic, event_id HAVING count(*) > 1 ORDER BY topic, event_id LIMIT $1"""

_NULL = "Postgres: a column that must not be NULL is NULL"

_DAMAGE = ("XX", "22", "58")
"""SQLSTATE classes of what the server can't read: damaged pages, bytes that are not UTF-8,
files that are missing or fail."""


class PostgresSnapshot:
    """Snapshot of a Postgres log, which may be on a standby; a `LogSnapshot`.

    Args:
        dsn: a connection URI, postgresql://user:password@host:port/database.
        schema: where the log is; None for the first that the role's `search_path` names.
    """

    block_rows = 5000
    """Maximum number of rows in a block."""

    def __init__(self, dsn: str, *, schema: str | None = None) -> None:
        self._dsn = dsn
        self._schema = schema
        self._runner: asyncio.Runner | None = None
        self._open: asyncpg.Connection | None = None
        self._indexes: dict[tuple[str, ...], Index] = {}

    def open(self) -> None:
        """See `LogSnapshot.open`."""
        self._runner = asyncio.Runner()
        self._run(self._begin())

    def close(self) -> None:
        """See `LogSnapshot.close`."""
        runner, self._runner = self._runner, None
        connection, self._open = self._open, None
        if runner is None:
            return
        try:
            if connection is not None:
                with suppress(*CUT_OFF, asyncpg.PostgresError):
                    runner.run(connection.close(timeout=_CONNECT_TIMEOUT_S))
        finally:
            runner.close()

    def extent(self) -> Extent:
        """See `LogSnapshot.extent`."""
        ((topics, rows, *widths),) = self._run(self._fetch(_EXTENT))
        return Extent(topics, int(rows), *widths)

    def faults(self) -> Iterator[str]:
        """See `LogSnapshot.faults`."""
        for table, columns in INDEXED:
            index = self._indexes.get(columns)
            forbids_doubles = index.forbids_doubles if index else None
            yield from index_fault(table, columns, forbids_doubles=forbids_doubles)
        there = {name for (name,) in self._run(self._fetch(TRIGGERS))}
        yield from missing_triggers(there)

    def rows(self) -> Iterator[Row]:
        """See `LogSnapshot.rows`."""
        for block in self._blocks(TABLE_ALONE, ROWS, _BLOCK_WHOLE_ROWS):
            for *row, payload, place in block:
                if payload is None:
                    ((payload,),) = self._run(self._fetch(_PAYLOAD, place))  # noqa: PLW2901
                if payload is None or None in row:
                    raise LogDamaged(_NULL)
                yield (*row, payload)

    def counts(self) -> Blocks:
        """See `LogSnapshot.counts`."""
        return self._blocks(TABLE_ALONE, _COUNTS)

    def table(self) -> Blocks:
        """See `LogSnapshot.table`."""
        return self._blocks(TABLE_ALONE, TABLE)

    def place_index(self) -> Blocks | None:
        """See `LogSnapshot.place_index`."""
        return self._blocks(INDEX_ALONE, PLACES) if PLACE in self._indexes else None

    def key_index(self) -> Blocks:
        """See `LogSnapshot.key_index`."""
        return self._blocks(INDEX_ALONE if KEY in self._indexes else TABLE_ALONE, KEYS)

    def ranges(self) -> Blocks:
        """See `LogSnapshot.ranges`."""
        return self._blocks(TABLE_ALONE, RANGES)

    def range_index(self) -> Blocks | None:
        """See `LogSnapshot.range_index`."""
        return self._blocks(INDEX_ALONE, RANGE_ENTRIES) if RANGE in self._indexes else None

    @property
    def subscription_tables(self) -> PostgresSubscriptionTables:
        """See `LogSnapshot.subscription_tables`."""
        return PostgresSubscriptionTables(partial(self._blocks, TABLE_ALONE))

    def doubled_keys(self, max_keys: int) -> list[Row]:
        """See `LogSnapshot.doubled_keys`."""
        self._run(self._plan_with(TABLE_ALONE))
        return self._run(self._fetch(DOUBLED, max_keys))

    async def _begin(self) -> None:
        try:
            self._open = connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=None,
                statement_cache_size=0,
            )
        except (*UNUSABLE, ValueError) as error:
            raise StorageMisconfigured(unusable(error)) from error
        # All that is set is set in the one transaction, which whatever stands between leaves to
        # one session; and no statement has a name.
        settings = set_settings(_SESSION, self._schema, local=True)
        await connection.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}")
        await connection.execute(_NO_TRANSACTION_TIMEOUT)
        await use_exact_times(connection)
        await self._check_schema(connection)
        self._indexes = await find_indexes(connection)
        for columns, sql in ((PLACE, PLACES), (KEY, KEYS), (RANGE, RANGE_ENTRIES)):
            if columns in self._indexes:
                await self._check_plan(sql, self._indexes[columns].name)

    async def _check_plan(self, sql: str, index: str) -> None:
        await self._plan_with(INDEX_ALONE)
        ((text,),) = await self._fetch(f"EXPLAIN (FORMAT JSON) {sql}")
        plan = json.loads(text)[0]["Plan"]
        if plan["Node Type"] != "Index Only Scan" or plan["Index Name"] != index:
            raise StorageMisconfigured(
                f"Postgres reads {plan.get('Index Name')!r} in place of the index {index!r}, which "
                "so can't be verified: drop the index that stands in for it"
            )

    async def _check_schema(self, connection: asyncpg.Connection) -> None:
        first = await connection.fetchval("SELECT current_schema()::text")
        named = self._schema is not None
        schema = log_of(await find_logs(connection), self._schema or first, named=named)
        if not await connection.fetchval("SELECT has_schema_privilege($1, 'USAGE')", schema):
            raise StorageMisconfigured(f"Postgres: permission denied for schema {schema!r}")
        version = await connection.fetchval(
            "SELECT coalesce(max(version), 0) FROM aggregator_schema"
        )
        if steps := pending("postgres", version):
            raise StorageMisconfigured(
                f"the Postgres database has schema version {version}, older than the version "
                f"{steps[-1].version} of this program: let the aggregator bring it up to date"
            )

    def _blocks(self, paths: Mapping[str, str], sql: str, max_rows: int | None = None) -> Blocks:
        size = min(max_rows or self.block_rows, self.block_rows)
        cursor = self._run(self._cursor(sql, paths))
        while block := self._run(_next(cursor, size)):
            if sql is not ROWS and any(None in column for column in zip(*block, strict=True)):
                raise LogDamaged(_NULL)
            yield cast("list[Row]", block)

    async def _cursor(self, sql: str, paths: Mapping[str, str]) -> asyncpg.cursor.Cursor:
        # Planned here and now; what is set later does not change the plan.
        await self._plan_with(paths)
        return await self._connection.cursor(sql)

    async def _plan_with(self, paths: Mapping[str, str]) -> None:
        settings = "; ".join(f"SET LOCAL {name} = {value}" for name, value in paths.items())
        await self._connection.execute(settings)

    async def _fetch(self, sql: str, *arguments: object) -> list[Row]:
        return cast("list[Row]", await self._connection.fetch(sql, *arguments))

    @property
    def _connection(self) -> asyncpg.Connection:
        if self._open is None:
            raise StorageUnavailable("the snapshot is not open")
        return self._open

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            work.close()
            raise StorageUnavailable("the snapshot is not open")
        return self._runner.run(_translate(work))


async def _next(cursor: asyncpg.cursor.Cursor, rows: int) -> list[asyncpg.Record]:
    # Of a closed connection the driver raises where it is called, not where it is awaited.
    return await cursor.fetch(rows)


async def _translate(work: Coroutine[Any, Any, T]) -> T:
    async with translated():
        try:
            return await work
        except UnicodeDecodeError as error:
            raise LogDamaged(f"Postgres: a text is not UTF-8: {error}") from error
        except asyncpg.PostgresError as error:
            if error.sqlstate and error.sqlstate.startswith(_DAMAGE):
                raise LogDamaged(f"Postgres: {error}") from error
            raise
