-- One row for each append and topic: its new events have one ts_ingest and the offsets from
-- first_offset to last_offset. In the order of its key, it is the order of reading across topics.
CREATE TABLE appends (
    ts_ingest     timestamptz      NOT NULL,
    topic         text COLLATE "C" NOT NULL,
    first_offset  bigint           NOT NULL,
    last_offset   bigint           NOT NULL,
    PRIMARY KEY (ts_ingest, topic, first_offset),
    CHECK (first_offset BETWEEN 1 AND last_offset)
);

-- Triggers write it, so that no writer can count events and leave them out here: not even one of an
-- older version that goes on beside a newer one, as a role that has no right on this table.
CREATE FUNCTION record_append_v5() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
    VALUES (NEW.last_ts_ingest, NEW.topic, coalesce(OLD.unique_processed, 0) + 1,
            NEW.unique_processed);
    RETURN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION record_append_v5() SET search_path = %I, pg_temp',
                   current_schema());
END
$$;
-- These wait for the writers that are storing, and are waited for by the next.
CREATE TRIGGER topics_first_append AFTER INSERT ON topics FOR EACH ROW
WHEN (NEW.unique_processed > 0) EXECUTE FUNCTION record_append_v5();
CREATE TRIGGER topics_append AFTER UPDATE OF unique_processed ON topics FOR EACH ROW
WHEN (NEW.unique_processed > OLD.unique_processed) EXECUTE FUNCTION record_append_v5();

-- What was stored before the triggers: it is added in steps, see storage/postgres/backfill.py, and
-- the next migration comes when that is done. These are the heads of the topics now,
CREATE TABLE appends_backfill_heads (
    topic        text COLLATE "C" NOT NULL PRIMARY KEY,
    head_offset  bigint           NOT NULL
);
INSERT INTO appends_backfill_heads (topic, head_offset)
SELECT topic, unique_processed FROM topics WHERE unique_processed > 0;

-- and this is how far it has come in the index by time; no row once it is done.
CREATE TABLE appends_backfill (
    ts_ingest     timestamptz      NOT NULL,
    topic         text COLLATE "C" NOT NULL,
    "offset"      bigint           NOT NULL,
    events_done   bigint           NOT NULL,
    events_total  bigint           NOT NULL
);
INSERT INTO appends_backfill (ts_ingest, topic, "offset", events_done, events_total)
SELECT '0001-01-01 00:00:00+00', '', 0, 0, sum(head_offset) FROM appends_backfill_heads
HAVING count(*) > 0;

-- Stores a batch that was decided before its topics were locked, as append_if_unchanged_v4 does, which
-- stays for older aggregators: if the topics are now as they were expected to be, by their
-- `expected_appends` and `expected_heads`. If one is not, nothing is changed and the answer is NULL;
-- else it is the seconds that passed in here. `names` are the topics in byte order, which is the
-- order in which every writer locks them. Each statement begins after the locks are held, and so
-- sees what their last holder committed.
CREATE FUNCTION append_if_unchanged_v5(
    names text[], expected_appends uuid[], expected_heads bigint[], this_append uuid,
    add_received bigint[], add_unique bigint[], add_duplicates bigint[], add_conflicts bigint[],
    new_topics text, new_numbers integer[], new_offsets bigint[], new_ids text,
    new_timestamps timestamptz[], new_sources text, new_payloads text
) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    began         timestamptz := clock_timestamp();
    found_names   text[];
    found_appends uuid[];
    found_heads   bigint[];
    times         timestamptz[];
    stored        bigint;
BEGIN
    SELECT array_agg(t.topic), array_agg(t.last_append), array_agg(t.unique_processed),
           array_agg(greatest(clock_timestamp(), t.last_ts_ingest))
    INTO found_names, found_appends, found_heads, times
    FROM (SELECT * FROM topics WHERE topic = ANY (names) ORDER BY topic FOR UPDATE) AS t;
    IF (found_names, found_appends, found_heads)
       IS DISTINCT FROM (names, expected_appends, expected_heads) THEN
        RETURN NULL;
    END IF;

    INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
    SELECT new.topic, new.place, new.id, new.time, times[new.number], new.origin, new.text::json
    FROM (SELECT unnest(string_to_array(new_topics, chr(31))) AS topic,
                 unnest(new_numbers) AS number,
                 unnest(new_offsets) AS place,
                 unnest(string_to_array(new_ids, chr(31))) AS id,
                 unnest(new_timestamps) AS time,
                 unnest(string_to_array(new_sources, chr(31))) AS origin,
                 unnest(string_to_array(new_payloads, chr(31))) AS text) AS new
    ON CONFLICT (topic, event_id) DO NOTHING;
    -- A row that was turned away although its key was not found, or that a trigger or a rule kept
    -- out, is an event about to be lost, never a duplicate.
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored <> cardinality(new_offsets) THEN
        RAISE unique_violation USING MESSAGE = format(
            '%s of %s new events were stored; nothing was committed',
            stored, cardinality(new_offsets));
    END IF;

    UPDATE topics AS t SET
        received = t.received + d.received,
        unique_processed = t.unique_processed + d.unique_processed,
        duplicate_dropped = t.duplicate_dropped + d.duplicate_dropped,
        conflicts = t.conflicts + d.conflicts,
        last_ts_ingest = d.ts_ingest,
        last_append = this_append
    FROM unnest(names, add_received, add_unique, add_duplicates, add_conflicts, times)
         AS d (topic, received, unique_processed, duplicate_dropped, conflicts, ts_ingest)
    WHERE t.topic = d.topic;
    RETURN extract(epoch FROM clock_timestamp() - began);
END
$$;
