-- One row for each append and topic: its new events have one ts_ingest and the offsets from
-- first_offset to last_offset. In the order of its key, it is the order of reading across topics.
CREATE TABLE appends (
    ts_ingest     INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    first_offset  INTEGER NOT NULL,
    last_offset   INTEGER NOT NULL,
    PRIMARY KEY (ts_ingest, topic, first_offset),
    CHECK (first_offset BETWEEN 1 AND last_offset)
) STRICT, WITHOUT ROWID;

-- Triggers write it, so that no writer can count events and leave them out here: not even one of an
-- older version that goes on beside a newer one.
CREATE TRIGGER topics_first_append AFTER INSERT ON topics
WHEN new.unique_processed > 0
BEGIN
    INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
    VALUES (new.last_ts_ingest, new.topic, 1, new.unique_processed);
END;
CREATE TRIGGER topics_append AFTER UPDATE OF unique_processed ON topics
WHEN new.unique_processed > old.unique_processed
BEGIN
    INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
    VALUES (new.last_ts_ingest, new.topic, old.unique_processed + 1, new.unique_processed);
END;

-- What was stored before the triggers: it is added in steps, see storage/sqlite/backfill.py, and the
-- next migration comes when that is done. These are the heads of the topics now,
CREATE TABLE appends_backfill_heads (
    topic        TEXT    NOT NULL PRIMARY KEY,
    head_offset  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO appends_backfill_heads (topic, head_offset)
SELECT topic, unique_processed FROM topics WHERE unique_processed > 0;

-- and this is how far it has come in the index by time; no row once it is done.
CREATE TABLE appends_backfill (
    ts_ingest      INTEGER NOT NULL,
    topic          TEXT    NOT NULL,
    "offset"       INTEGER NOT NULL,
    events_done    INTEGER NOT NULL,
    events_total   INTEGER NOT NULL
) STRICT;
INSERT INTO appends_backfill (ts_ingest, topic, "offset", events_done, events_total)
SELECT -62135596800000000, '', 0, 0, sum(head_offset) FROM appends_backfill_heads
HAVING count(*) > 0;
