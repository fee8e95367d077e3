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

-- The head up to which writers have written their ranges there themselves.
ALTER TABLE topics ADD COLUMN recorded_head bigint NOT NULL DEFAULT 0;

-- For any other writer triggers do it: an older version that goes on beside a newer one, with a role
-- that need not have a right on the table. They cost the server more than one INSERT for all topics
-- of an append, so they leave alone who has done it. The schema may be renamed, so the function looks
-- for the table where it was called.
CREATE FUNCTION record_append_v5() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.appends (ts_ingest, topic, first_offset, last_offset) '
                   'VALUES ($1, $2, $3, $4)', TG_TABLE_SCHEMA)
    USING NEW.last_ts_ingest, NEW.topic, coalesce(OLD.unique_processed, 0) + 1,
          NEW.unique_processed;
    RETURN NULL;
END
$$;
-- Whoever could make a trigger of it on a table of theirs would have its owner's rights where it then
-- writes. To fire the triggers below takes no right on it.
REVOKE ALL ON FUNCTION record_append_v5() FROM PUBLIC;
-- These wait for the writers that are storing, and are waited for by the next.
CREATE TRIGGER topics_first_append AFTER INSERT ON topics FOR EACH ROW
WHEN (NEW.unique_processed > NEW.recorded_head) EXECUTE FUNCTION record_append_v5();
CREATE TRIGGER topics_append AFTER UPDATE OF unique_processed ON topics FOR EACH ROW
WHEN (NEW.unique_processed > OLD.unique_processed AND NEW.unique_processed > NEW.recorded_head)
EXECUTE FUNCTION record_append_v5();

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

-- Stores a batch that was decided before its topics were locked, if they are now as they were
-- expected to be: `expected_appends` and `expected_heads`. If one is not, nothing is changed and the
-- answer is NULL; else it is the seconds that passed in here. `names` are the topics in byte order,
-- which is the order in which every writer locks them, and `new_numbers` the places of the events'
-- topics among them. Each statement begins after the locks are held, and so sees what their last
-- holder committed. append_if_unchanged_v4 stays for older aggregators.
CREATE FUNCTION append_if_unchanged_v5(
    names text[], expected_appends uuid[], expected_heads bigint[], this_append uuid,
    add_received bigint[], add_unique bigint[], add_duplicates bigint[], add_conflicts bigint[],
    new_numbers integer[], new_offsets bigint[], new_ids text, new_timestamps timestamptz[],
    new_sources text, new_payloads text
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

    -- An array that is a variable, and not an argument, is subscripted at no cost.
    INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
    SELECT found_names[new.number], new.place, new.id, new.time, times[new.number], new.origin,
           new.text::json
    FROM (SELECT unnest(new_numbers) AS number,
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

    INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
    SELECT new.ts_ingest, new.topic, new.head + 1, new.head + new.added
    FROM (SELECT unnest(times) AS ts_ingest, unnest(names) AS topic,
                 unnest(expected_heads) AS head, unnest(add_unique) AS added) AS new
    WHERE new.added > 0;

    UPDATE topics AS t SET
        received = t.received + d.received,
        unique_processed = t.unique_processed + d.unique_processed,
        duplicate_dropped = t.duplicate_dropped + d.duplicate_dropped,
        conflicts = t.conflicts + d.conflicts,
        last_ts_ingest = d.ts_ingest,
        last_append = this_append,
        recorded_head = t.unique_processed + d.unique_processed
    FROM unnest(names, add_received, add_unique, add_duplicates, add_conflicts, times)
         AS d (topic, received, unique_processed, duplicate_dropped, conflicts, ts_ingest)
    WHERE t.topic = d.topic;
    RETURN extract(epoch FROM clock_timestamp() - began);
END
$$;
