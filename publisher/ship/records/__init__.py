"""Records of the lines of logs: formats, times, sources."""
