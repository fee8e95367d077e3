-- The table `appends` has taken its place, and holds what was stored before it.
DROP INDEX events_by_ts_ingest;
DROP TABLE appends_backfill;
DROP TABLE appends_backfill_heads;
