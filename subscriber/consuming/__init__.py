"""Consuming: leases that are held, what is settled of them, and who handles what next."""
