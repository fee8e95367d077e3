"""The command `follow`: a stream to standard output."""
