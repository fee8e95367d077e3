-- One row for each store that is open, so that a later version can see which versions write
-- beside it. `schema_version` is the newest that the writer knows. Times as in `topics`; `seen_at`
-- is renewed about once a minute, so an old one is that of a writer that was killed or hangs.
CREATE TABLE writers (
    writer          TEXT    NOT NULL PRIMARY KEY,
    schema_version  INTEGER NOT NULL,
    program         TEXT    NOT NULL,
    opened_at       INTEGER NOT NULL,
    seen_at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
