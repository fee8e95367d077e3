"""Log lines, metrics and spans about requests, flushes and conflicts."""
