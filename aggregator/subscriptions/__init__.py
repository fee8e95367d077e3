"""Subscriptions: leases for consumers, over the commands of storage and the events of the log."""
