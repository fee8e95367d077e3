"""The structured log: its setup, its rate limits, and the streams that it is written to."""
