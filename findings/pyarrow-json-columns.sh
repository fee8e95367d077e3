#!/usr/bin/env bash
# pyarrow 26.0.0 reads a JSON column of Parquet, and can then neither filter, group nor sort by it.
#
# The column is an extension type for which none of the three has a kernel. Cast to string, it does
# all of it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.0
cd "$folder"
venv/bin/python - >seen <<'PYTHON'
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

written = pa.table({"payload": pa.array(['{"a":2}', '{"a":1}'], pa.json_()), "n": [1, 2]})
pq.write_table(written, "t.parquet")
json = pq.read_table("t.parquet")
text = json.set_column(0, "payload", json["payload"].cast(pa.string()))
for table in (json, text):
    for what, work in (
        ("filter", lambda t: t.filter(pc.field("payload") == '{"a":1}')),
        ("group", lambda t: t.group_by("payload").aggregate([("n", "sum")])),
        ("sort", lambda t: t.sort_by("payload")),
    ):
        try:
            told = f"{work(table).num_rows} rows"
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            told = type(error).__name__
        print(f"{table.schema.field('payload').type}, {what}: {told}")
PYTHON
diff --unified - seen <<'SEEN'
extension<arrow.json>, filter: ArrowNotImplementedError
extension<arrow.json>, group: ArrowNotImplementedError
extension<arrow.json>, sort: ArrowTypeError
string, filter: 1 rows
string, group: 2 rows
string, sort: 2 rows
SEEN
echo "as it was"
