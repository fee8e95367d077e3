"""From checked events to durable verdicts: admission and group commit."""
