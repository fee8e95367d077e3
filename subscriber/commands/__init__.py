"""The commands of `python -m subscriber`."""
