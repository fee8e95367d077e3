"""A load generator with an oracle, which checks every verdict, count and stored event."""
