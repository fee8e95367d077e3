"""Spans of requests, flushes and transactions, exported through OpenTelemetry.

All that imports OpenTelemetry, which is the optional extra `tracing`: nothing here is imported
before tracing is turned on. See `docs/operate/tracing.md`.
"""
