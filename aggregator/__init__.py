"""A pub-sub log aggregator with an idempotent consumer."""

__version__ = "0.1.0"
