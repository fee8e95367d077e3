"""The SQLite backend: a process that writes, connections that read, one file in WAL mode."""
