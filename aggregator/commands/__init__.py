"""Commands beside the server: `verify` and `logs report`."""
