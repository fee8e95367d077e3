"""Exactly once into the consumer's own database.

async with checkpoint(connection, "billing", batch) as fresh:
    for event in fresh:
        ...  # writes over the same connection
"""

from subscriber.checkpoints.blocks import BlockingCheckpoint, Checkpoint, EitherCheckpoint
from subscriber.checkpoints.connections import checkpoint, create_checkpoint_table
from subscriber.checkpoints.errors import (
    CheckpointDamaged,
    CheckpointTableMissing,
    ConnectionInCheckpoint,
    DoneElsewhere,
    TransactionEnded,
)
from subscriber.checkpoints.table import CHECKPOINT_TABLE

__all__ = [
    "CHECKPOINT_TABLE",
    "BlockingCheckpoint",
    "Checkpoint",
    "CheckpointDamaged",
    "CheckpointTableMissing",
    "ConnectionInCheckpoint",
    "DoneElsewhere",
    "EitherCheckpoint",
    "TransactionEnded",
    "checkpoint",
    "create_checkpoint_table",
]
