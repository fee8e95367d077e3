"""Bytes in, events or errors out: the contract's rules, without HTTP and without storage."""
