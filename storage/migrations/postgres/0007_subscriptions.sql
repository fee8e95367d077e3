-- A subscription. `revision` is another number after each change of the row, and after any that takes
-- rows of its topics away; of two that had the same name one after the other, each has its own `id`.
CREATE TABLE subscriptions (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    id           text COLLATE "C" NOT NULL UNIQUE,
    settings     json             NOT NULL,
    reason       text,
    dead_in_row  bigint           NOT NULL,
    revision     bigint           NOT NULL,
    created_at   timestamptz      NOT NULL,
    CHECK (dead_in_row >= 0)
) WITH (fillfactor = 50);

-- What a subscription keeps of one topic: one live row, and no column that changes is in an index. An
-- UPDATE in place leaves a dead version of the row behind, and while somebody's old transaction is
-- open, none is pruned: whoever looks the row up by its key visits all of them. So `revision`, which
-- each change counts on, counts on `row_version` as well every 32nd time: then a new row is written
-- and the old one deleted, and the newest is found first by reading the index backward. It passes the
-- versions of one row, not those of all that there were. See storage/postgres/subscriptions.py.
CREATE TABLE subscription_topics (
    subscription   text COLLATE "C" NOT NULL,
    topic          text COLLATE "C" NOT NULL,
    row_version    bigint           NOT NULL,
    revision       bigint           NOT NULL,
    start_offset   bigint           NOT NULL,
    next_offset    bigint           NOT NULL,
    acknowledged   bigint           NOT NULL,
    dead           bigint           NOT NULL,
    redelivered    bigint           NOT NULL,
    unsettled      bigint           NOT NULL,
    place          bigint           NOT NULL,
    ranges         json             NOT NULL,
    due_at         timestamptz,
    holds_new      boolean          NOT NULL,
    PRIMARY KEY (subscription, topic, row_version),
    -- The second law of conservation, up to what was handed out last.
    CHECK (next_offset - start_offset = acknowledged + dead + unsettled),
    CHECK (start_offset >= 0 AND acknowledged >= 0 AND dead >= 0 AND unsettled >= 0),
    CHECK (redelivered >= 0 AND place BETWEEN 0 AND next_offset)
) WITH (fillfactor = 50);

-- Errors are JSON strings: text could not hold U+0000.
CREATE TABLE subscription_failures (
    subscription     text COLLATE "C" NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    "offset"         bigint           NOT NULL,
    deliveries       bigint           NOT NULL,
    first_error      json,
    last_error       json,
    first_failed_at  timestamptz      NOT NULL,
    dead_at          timestamptz,
    PRIMARY KEY (subscription, topic, "offset")
);
CREATE INDEX subscription_dead_letters ON subscription_failures (subscription, topic, "offset")
WHERE dead_at IS NOT NULL;

-- Settles that were done, so that the same is answered alike. Nothing is changed here, only added and,
-- aside, taken away.
CREATE TABLE subscription_settles (
    subscription  text COLLATE "C" NOT NULL,
    lease         text COLLATE "C" NOT NULL,
    digest        bytea            NOT NULL,
    consumer      text COLLATE "C" NOT NULL,
    at            timestamptz      NOT NULL,
    ended         boolean          NOT NULL,
    acknowledged  bigint           NOT NULL,
    retried       bigint           NOT NULL,
    dead          bigint           NOT NULL,
    released      bigint           NOT NULL,
    PRIMARY KEY (subscription, lease, digest)
);
CREATE INDEX subscription_settles_by_time ON subscription_settles (at);
-- The leases that each consumer ended.
CREATE INDEX subscription_leases_by_consumer
ON subscription_settles (subscription, consumer, at, lease) WHERE ended;

-- Writes changes that were decided before the subscriptions were locked, if these and the rows of their
-- topics are still as they were known; else nothing is changed, and the answer is false. `names` are
-- the subscriptions in byte order, which is the order in which everybody locks them; the `known_`
-- columns are of those that were there, and the `missing_` ones are of topics that had no row. Each
-- statement begins after the locks are held, and so sees what their last holder committed.
--
-- Rows are looked up one by one, or behind a LIMIT: of a join a planner that knows of few rows, or none,
-- may find that a part of the key will do.
--
-- Whatever changes a row of a subscription's topics holds the lock on the subscription. So what was
-- found unchanged stays so until this is committed.
CREATE FUNCTION change_subscriptions_v7(
    names text[], known_names text[], known_ids text[], known_revisions bigint[],
    topic_ids text[], topics text[], row_versions bigint[], revisions bigint[],
    missing_ids text[], missing_topics text[],
    now_at timestamptz, made json, changed json, deleted text[],
    gone_ids text[], gone_topics text[], gone_versions bigint[],
    updated json, inserted json, forgotten json, failures json, settles json
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found_names      text[];
    found_ids        text[];
    found_revisions  bigint[];
    number           bigint;
    row_of           record;
BEGIN
    SELECT coalesce(array_agg(s.name), '{}'), coalesce(array_agg(s.id), '{}'),
           coalesce(array_agg(s.revision), '{}')
    INTO found_names, found_ids, found_revisions
    FROM (SELECT * FROM subscriptions WHERE name = ANY (names) ORDER BY name FOR UPDATE) AS s;
    IF (found_names, found_ids, found_revisions)
       IS DISTINCT FROM (known_names, known_ids, known_revisions) THEN
        RETURN false;
    END IF;
    SELECT count(*) INTO number
    FROM unnest(topic_ids, topics, row_versions, revisions) AS k (id, topic, row_version, revision)
    CROSS JOIN LATERAL (
        SELECT FROM subscription_topics AS t
        WHERE t.subscription = k.id AND t.topic = k.topic AND t.row_version = k.row_version
          AND t.revision = k.revision LIMIT 1) AS known;
    IF number <> cardinality(topic_ids) THEN
        RETURN false;
    END IF;
    IF missing_ids <> '{}' AND EXISTS (
        SELECT FROM unnest(missing_ids, missing_topics) AS m (id, topic)
        CROSS JOIN LATERAL (
            SELECT FROM subscription_topics AS t
            WHERE t.subscription = m.id AND t.topic = m.topic LIMIT 1) AS known) THEN
        RETURN false;
    END IF;
    IF settles IS NOT NULL AND EXISTS (
        SELECT FROM json_to_recordset(settles) AS n (id text, lease text, digest text)
        CROSS JOIN LATERAL (
            SELECT FROM subscription_settles AS d
            WHERE d.subscription = n.id AND d.lease = n.lease
              AND d.digest = decode(n.digest, 'hex') LIMIT 1) AS done) THEN
        RETURN false;
    END IF;

    -- JSON that may have U+0000 in a string comes as a text within the JSON.
    -- A name that somebody else has just given away is theirs: there is no row here to lock for it.
    IF made IS NOT NULL THEN
        INSERT INTO subscriptions (name, id, settings, reason, dead_in_row, revision, created_at)
        SELECT name, id, settings::json, reason, dead_in_row, revision, now_at
        FROM json_to_record(made)
             AS n (name text, id text, settings text, reason text, dead_in_row bigint, revision bigint)
        ON CONFLICT (name) DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    IF changed IS NOT NULL THEN
        UPDATE subscriptions AS s SET settings = n.settings::json, reason = n.reason,
            dead_in_row = n.dead_in_row, revision = s.revision + 1
        FROM json_to_recordset(changed)
             AS n (name text, settings text, reason text, dead_in_row bigint)
        WHERE s.name = n.name;
        GET DIAGNOSTICS number = ROW_COUNT;
        IF number <> json_array_length(changed) THEN
            RAISE data_exception USING MESSAGE = 'a subscription was not changed; nothing was committed';
        END IF;
    END IF;
    IF deleted <> '{}' THEN
        DELETE FROM subscriptions WHERE id = ANY (deleted);
        DELETE FROM subscription_topics WHERE subscription = ANY (deleted);
        DELETE FROM subscription_failures WHERE subscription = ANY (deleted);
        DELETE FROM subscription_settles WHERE subscription = ANY (deleted);
    END IF;

    IF gone_ids <> '{}' THEN
        FOR row_of IN
            SELECT * FROM unnest(gone_ids, gone_topics, gone_versions) AS g (id, topic, row_version)
        LOOP
            DELETE FROM subscription_topics AS t
            WHERE t.subscription = row_of.id AND t.topic = row_of.topic
              AND t.row_version = row_of.row_version;
        END LOOP;
    END IF;
    -- A row that a trigger or a rule kept out would be events about to be handed out twice.
    IF updated IS NOT NULL THEN
        FOR row_of IN
            SELECT * FROM json_to_recordset(updated) AS n (
                id text, topic text, row_version bigint, revision bigint, start_offset bigint,
                next_offset bigint, acknowledged bigint, dead bigint, redelivered bigint,
                unsettled bigint, place bigint, ranges json, due_us bigint, holds_new boolean)
        LOOP
            UPDATE subscription_topics AS t SET
                revision = row_of.revision, start_offset = row_of.start_offset,
                next_offset = row_of.next_offset, acknowledged = row_of.acknowledged,
                dead = row_of.dead, redelivered = row_of.redelivered,
                unsettled = row_of.unsettled, place = row_of.place, ranges = row_of.ranges,
                holds_new = row_of.holds_new,
                due_at = timestamptz 'epoch' + row_of.due_us * interval '1 microsecond'
            WHERE t.subscription = row_of.id AND t.topic = row_of.topic
              AND t.row_version = row_of.row_version;
            IF NOT FOUND THEN
                RAISE data_exception USING MESSAGE =
                    'a topic''s row was not changed; nothing was committed';
            END IF;
        END LOOP;
    END IF;
    IF inserted IS NOT NULL THEN
        INSERT INTO subscription_topics (
            subscription, topic, row_version, revision, start_offset, next_offset, acknowledged,
            dead, redelivered, unsettled, place, ranges, holds_new, due_at)
        SELECT n.id, n.topic, n.row_version, n.revision, n.start_offset, n.next_offset,
               n.acknowledged, n.dead, n.redelivered, n.unsettled, n.place, n.ranges, n.holds_new,
               timestamptz 'epoch' + n.due_us * interval '1 microsecond'
        FROM json_to_recordset(inserted) AS n (
            id text, topic text, row_version bigint, revision bigint, start_offset bigint,
            next_offset bigint, acknowledged bigint, dead bigint, redelivered bigint,
            unsettled bigint, place bigint, ranges json, due_us bigint, holds_new boolean);
        GET DIAGNOSTICS number = ROW_COUNT;
        IF number <> json_array_length(inserted) THEN
            RAISE data_exception USING MESSAGE = 'a topic''s row was not stored; nothing was committed';
        END IF;
    END IF;

    IF forgotten IS NOT NULL THEN
        FOR row_of IN
            SELECT * FROM json_to_recordset(forgotten)
                AS n (id text, topic text, first bigint, last bigint)
        LOOP
            DELETE FROM subscription_failures AS f
            WHERE f.subscription = row_of.id AND f.topic = row_of.topic
              AND f."offset" BETWEEN row_of.first AND row_of.last;
        END LOOP;
    END IF;
    IF failures IS NOT NULL THEN
        INSERT INTO subscription_failures AS f (
            subscription, topic, "offset", deliveries, first_error, last_error, first_failed_at,
            dead_at)
        SELECT n.id, n.topic, n.place, n.deliveries, n.first_error::json, n.last_error::json,
               now_at, CASE WHEN n.dead THEN now_at END
        FROM json_to_recordset(failures) AS n (
            id text, topic text, place bigint, deliveries bigint, first_error text,
            last_error text, dead boolean)
        ON CONFLICT (subscription, topic, "offset") DO UPDATE SET
            deliveries = excluded.deliveries,
            first_error = coalesce(f.first_error, excluded.first_error),
            last_error = coalesce(excluded.last_error, f.last_error),
            dead_at = CASE WHEN excluded.dead_at IS NOT NULL
                           THEN coalesce(f.dead_at, excluded.dead_at) END;
    END IF;
    IF settles IS NOT NULL THEN
        INSERT INTO subscription_settles (
            subscription, lease, digest, consumer, at, ended, acknowledged, retried, dead, released)
        SELECT n.id, n.lease, decode(n.digest, 'hex'), n.consumer, now_at, n.ended, n.acknowledged,
               n.retried, n.dead, n.released
        FROM json_to_recordset(settles) AS n (
            id text, lease text, digest text, consumer text, ended boolean, acknowledged bigint,
            retried bigint, dead bigint, released bigint);
    END IF;
    RETURN true;
END
$$;
