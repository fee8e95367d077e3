"""The benchmark: the service measured beside the ceilings of its parts and beside its peers."""
