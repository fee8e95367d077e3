"""Log files to a topic, line by line and in order, safe to run again at any time."""
