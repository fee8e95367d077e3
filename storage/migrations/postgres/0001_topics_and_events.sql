-- One row a topic. unique_processed is also the head offset: one column, so that the count
-- and the offsets cannot come apart. A writer locks the row before it looks for keys, so
-- commit order is offset order. fillfactor leaves room for HOT updates of the counts.
-- COLLATE "C" compares byte for byte, as the contract does.
CREATE TABLE topics (
    topic              text COLLATE "C" NOT NULL PRIMARY KEY,
    received           bigint           NOT NULL DEFAULT 0,
    unique_processed   bigint           NOT NULL DEFAULT 0,
    duplicate_dropped  bigint           NOT NULL DEFAULT 0,
    conflicts          bigint           NOT NULL DEFAULT 0,
    last_ts_ingest     timestamptz      NOT NULL DEFAULT 'epoch',
    CHECK (received = unique_processed + duplicate_dropped),
    CHECK (conflicts BETWEEN 0 AND duplicate_dropped)
) WITH (fillfactor = 50);

-- payload is json, not jsonb: jsonb refuses \u0000, rewrites numbers and forgets key order.
CREATE TABLE events (
    topic      text COLLATE "C" NOT NULL,
    "offset"   bigint           NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    timestamp  timestamptz      NOT NULL,
    ts_ingest  timestamptz      NOT NULL,
    source     text COLLATE "C" NOT NULL,
    payload    json             NOT NULL,
    PRIMARY KEY (topic, "offset"),
    UNIQUE (topic, event_id)
);

-- The order of reading across topics; it only ever grows at its right edge.
CREATE INDEX events_by_ts_ingest ON events (ts_ingest, topic, "offset");
