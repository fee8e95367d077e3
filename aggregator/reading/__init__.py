"""Limits on reads: how many at once, and how much memory they hold."""
