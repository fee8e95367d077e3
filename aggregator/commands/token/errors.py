"""What ends a command about tokens."""


class TokenCommandFailed(Exception):
    """A command can't be done; the message is one sentence without a token."""
