#!/usr/bin/env bash
# DuckDB 2.0.1 writes integers from 2^63 on to Parquet as DOUBLE, without a word.
#
# One number of 2^63 in a column of JSON makes the column HUGEINT, which is exact. Parquet has no
# such type: what is written is DOUBLE, for every row, also for those that fit into 64 bits, and
# two different numbers become equal.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.1
cd "$folder"
printf '{"n": 9223372036854775807}\n' >fits.ndjson
printf '{"n": 9223372036854775807}\n{"n": 9223372036854775808}\n' >large.ndjson
venv/bin/python - >seen <<'PYTHON'
import duckdb

for name in ("fits", "large"):
    duckdb.sql(f"COPY (SELECT n FROM '{name}.ndjson') TO '{name}.parquet'")
    for source in (f"{name}.ndjson", f"{name}.parquet"):
        rows = duckdb.sql(f"SELECT typeof(n), n::VARCHAR FROM '{source}'").fetchall()
        print(source, *rows)
PYTHON
diff --unified - seen <<'SEEN'
fits.ndjson ('BIGINT', '9223372036854775807')
fits.parquet ('BIGINT', '9223372036854775807')
large.ndjson ('HUGEINT', '9223372036854775807') ('HUGEINT', '9223372036854775808')
large.parquet ('DOUBLE', '9.223372036854776e+18') ('DOUBLE', '9.223372036854776e+18')
SEEN
echo "as it was"
