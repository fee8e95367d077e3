-- One row a topic. unique_processed is also the head offset: one column, so that the count
-- and the offsets cannot come apart. Writers take turns (BEGIN IMMEDIATE), so commit order
-- is offset order. Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE topics (
    topic              TEXT    NOT NULL PRIMARY KEY,
    received           INTEGER NOT NULL,
    unique_processed   INTEGER NOT NULL,
    duplicate_dropped  INTEGER NOT NULL,
    conflicts          INTEGER NOT NULL,
    last_ts_ingest     INTEGER NOT NULL,
    CHECK (received = unique_processed + duplicate_dropped),
    CHECK (conflicts BETWEEN 0 AND duplicate_dropped)
) STRICT, WITHOUT ROWID;

-- Kept in the order of (topic, offset), so that reading a topic is reading neighbours.
CREATE TABLE events (
    topic      TEXT    NOT NULL,
    "offset"   INTEGER NOT NULL,
    event_id   TEXT    NOT NULL,
    timestamp  INTEGER NOT NULL,
    ts_ingest  INTEGER NOT NULL,
    source     TEXT    NOT NULL,
    payload    TEXT    NOT NULL,
    PRIMARY KEY (topic, "offset"),
    UNIQUE (topic, event_id)
) STRICT, WITHOUT ROWID;

-- The order of reading across topics; it only ever grows at its right edge.
CREATE INDEX events_by_ts_ingest ON events (ts_ingest, topic, "offset");
