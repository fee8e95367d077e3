-- One row for each store that is open, so that a later version can see which versions write beside
-- it. `schema_version` is the newest that the writer knows. `seen_at` is renewed about once a minute,
-- so an old one is that of a writer that was killed, stopped or cut off.
CREATE TABLE writers (
    writer          uuid        NOT NULL PRIMARY KEY,
    schema_version  integer     NOT NULL,
    program         text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL
);

-- Stores a batch that was decided before its topics were locked, if they are now as they were
-- expected to be: `expected_appends` and `expected_heads`. If one is not, nothing is changed and the
-- answer is NULL; else it is the seconds that passed in here. `names` are the topics in byte order,
-- which is the order in which every writer locks them. Each statement begins after the locks are
-- held, and so sees what their last holder committed.
--
-- It does what append_if_as_known of the third migration does. That one stays, for an older
-- aggregator that goes on writing during a rolling upgrade. From now on a function has in its name
-- the version of the schema that brings it, and is never replaced: so each aggregator has its own.
--
-- The INSERT has no ON CONFLICT: nothing can conflict, for the topics are locked, and are as they were
-- when the keys were looked for. Should a key be there all the same, the UNIQUE constraint makes an
-- error of it, and nothing is committed.
CREATE FUNCTION append_if_unchanged_v4(
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
                 unnest(string_to_array(new_payloads, chr(31))) AS text) AS new;
    -- A row that a trigger or a rule kept out is an event about to be lost.
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
