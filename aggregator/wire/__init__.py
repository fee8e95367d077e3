"""The wire format: the contract's rules for requests and responses, without HTTP or storage."""
