"""Pages of the log, read the same way on every backend and bounded in bytes."""
