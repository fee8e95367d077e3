"""The audit: recounts a database from its rows."""
