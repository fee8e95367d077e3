"""Log files: which contents they hold, and how those are read."""
