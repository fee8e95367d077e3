"""TLS of the server's own: its files, the context in force, and the connections that use it."""
