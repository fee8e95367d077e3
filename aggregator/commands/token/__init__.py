"""The commands `token new` and `token check`: tokens, and entries of the tokens file."""
