"""The server process: its socket, its signals and its end."""
