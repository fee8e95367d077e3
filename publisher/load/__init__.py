"""A load generator that knows what must come of what it sends."""
