"""The command `verify`: recounts a database and prints a table."""
