"""The table that keeps what is done, in the consumer's own database."""

from subscriber.checkpoints.errors import CheckpointTableMissing

CHECKPOINT_TABLE = """
CREATE TABLE IF NOT EXISTS subscriber_checkpoints (
    subscription TEXT NOT NULL,
    topic TEXT NOT NULL,
    segment BIGINT NOT NULL,
    done BYTEA NOT NULL CHECK (length(done) = 512),
    PRIMARY KEY (subscription, topic, segment)
)
""".strip()
"""The statement that makes the table, for Postgres and for SQLite, which keeps a BYTEA as a BLOB.

A row is a segment of 4,096 offsets of a topic: the offset is `segment * 4096` plus the place of its
bit in `done`, whose first bit is the lowest of the first byte.
"""


def table_missing() -> CheckpointTableMissing:
    """Return the error for a database without the table."""
    return CheckpointTableMissing(
        "there is no table subscriber_checkpoints in this database:"
        " call create_checkpoint_table(connection) once, or run CHECKPOINT_TABLE in a migration"
    )
