"""The command `run`: batches to commands."""
