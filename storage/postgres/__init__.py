"""The Postgres backend: sessions, appends, reads and its schema."""
