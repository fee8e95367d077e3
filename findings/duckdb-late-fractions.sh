#!/usr/bin/env bash
# DuckDB 2.0.1 rounds a fraction that comes after 20,480 integers, without a word.
#
# The type of a column of JSON is made out from the first 20,480 rows. A text that comes later and
# does not fit that type is an error, which names `sample_size`; a fraction is rounded instead.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.1
cd "$folder"
venv/bin/python - >seen <<'PYTHON'
from pathlib import Path

import duckdb

for integers in (20_479, 20_480):
    for last in ("19.75", '"x"'):
        Path("n.ndjson").write_text('{"n": 1}\n' * integers + f'{{"n": {last}}}\n')
        try:
            rows = duckdb.sql(f"SELECT typeof(n), n::VARCHAR FROM 'n.ndjson' OFFSET {integers}")
            told = rows.fetchall()[0]
        except duckdb.Error as error:
            told = type(error).__name__
        print(f"{last} after {integers:,} integers: {told}")
PYTHON
diff --unified - seen <<'SEEN'
19.75 after 20,479 integers: ('DOUBLE', '19.75')
"x" after 20,479 integers: ('JSON', '"x"')
19.75 after 20,480 integers: ('BIGINT', '20')
"x" after 20,480 integers: InvalidInputException
SEEN
echo "as it was"
