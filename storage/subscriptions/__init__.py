"""Subscriptions: places in topics with leases, decided without a database."""
