-- Names the append that wrote the row last, by an id that its writer chose. Whoever knows what a
-- topic held after that append knows what it holds now, as long as its row still says so.
ALTER TABLE topics ADD COLUMN last_append uuid;

-- Stores a batch that was decided before its topics were locked, if they are now as they were
-- taken to be: `known_appends` and `known_heads`. If one is not, nothing is changed and the answer
-- is NULL; else it is the seconds that passed in here. `names` are the topics in byte order, which
-- is the order in which every writer locks them. Each statement begins after the locks are held,
-- and so sees what their last holder committed.
CREATE FUNCTION append_if_as_known(
    names text[], known_appends uuid[], known_heads bigint[], this_append uuid,
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
       IS DISTINCT FROM (names, known_appends, known_heads) THEN
        RETURN NULL;
    END IF;

    INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
    SELECT new.topic, new.place, new.id, new.time, times[new.number], new.origin, new.text::json
    FROM unnest(string_to_array(new_topics, chr(31)), new_numbers, new_offsets,
                string_to_array(new_ids, chr(31)), new_timestamps,
                string_to_array(new_sources, chr(31)), string_to_array(new_payloads, chr(31)))
         AS new (topic, number, place, id, time, origin, text)
    ON CONFLICT (topic, event_id) DO NOTHING;
    -- A row that the constraint turned away although its key was not found is an event about to
    -- be lost, never a duplicate.
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
