-- Subscriptions: durable places in topics. `settings` is JSON, see storage/subscriptions/model.py.
-- Paused is one that has a reason. Times as in `topics`.
CREATE TABLE subscriptions (
    name         TEXT     NOT NULL PRIMARY KEY,
    id           TEXT     NOT NULL UNIQUE,
    settings     TEXT     NOT NULL,
    reason       TEXT,
    dead_in_row  INTEGER  NOT NULL,
    created_at   INTEGER  NOT NULL,
    CHECK (dead_in_row >= 0)
) STRICT, WITHOUT ROWID;

-- One row a subscription and topic, written anew by what changes it. `ranges` is what was handed
-- out and is not settled, as JSON, which `unsettled` and `place` follow from. These follow from it
-- and the settings: when something of it may be handed out, and whether events behind next_offset
-- have to wait.
CREATE TABLE subscription_topics (
    subscription  TEXT     NOT NULL,
    topic         TEXT     NOT NULL,
    start_offset  INTEGER  NOT NULL,
    next_offset   INTEGER  NOT NULL,
    acknowledged  INTEGER  NOT NULL,
    dead          INTEGER  NOT NULL,
    redelivered   INTEGER  NOT NULL,
    unsettled     INTEGER  NOT NULL,
    place         INTEGER  NOT NULL,
    due_at        INTEGER,
    holds_new     INTEGER  NOT NULL,
    ranges        TEXT     NOT NULL,
    PRIMARY KEY (subscription, topic),
    CHECK (next_offset - start_offset = acknowledged + dead + unsettled),
    CHECK (start_offset >= 0 AND acknowledged >= 0 AND dead >= 0 AND unsettled >= 0),
    CHECK (redelivered >= 0),
    CHECK (place BETWEEN start_offset AND next_offset),
    CHECK (unsettled > 0 OR due_at IS NULL),
    CHECK (holds_new IN (0, 1))
) STRICT, WITHOUT ROWID;

-- What is leased in all topics of a subscription that may have a million of them.
CREATE INDEX subscription_topics_unsettled ON subscription_topics (subscription, topic, unsettled)
WHERE unsettled > 0;

-- Events that failed; those that have dead_at are dead letters. Its texts are long, so it is a table
-- beside its key.
CREATE TABLE subscription_failures (
    subscription     TEXT     NOT NULL,
    topic            TEXT     NOT NULL,
    "offset"         INTEGER  NOT NULL,
    deliveries       INTEGER  NOT NULL,
    first_error      TEXT,
    last_error       TEXT,
    first_failed_at  INTEGER  NOT NULL,
    dead_at          INTEGER,
    PRIMARY KEY (subscription, topic, "offset")
) STRICT;

CREATE INDEX subscription_failures_dead ON subscription_failures (subscription, topic, "offset")
WHERE dead_at IS NOT NULL;

-- Settles that were done, so that the same is answered alike; `digest` in hexadecimal digits. Of the
-- rows of a lease the one that ended it is the last in the order of the key.
CREATE TABLE subscription_settles (
    subscription  TEXT     NOT NULL,
    lease         TEXT     NOT NULL,
    ended         INTEGER  NOT NULL,
    digest        TEXT     NOT NULL,
    consumer      TEXT     NOT NULL,
    at            INTEGER  NOT NULL,
    acknowledged  INTEGER  NOT NULL,
    retried       INTEGER  NOT NULL,
    dead          INTEGER  NOT NULL,
    released      INTEGER  NOT NULL,
    PRIMARY KEY (subscription, lease, ended, digest),
    CHECK (ended IN (0, 1))
) STRICT, WITHOUT ROWID;
