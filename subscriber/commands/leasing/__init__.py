"""The command `lease`: one lease, by hand."""
