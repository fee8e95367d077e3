"""Why a journal is not read."""


class JournalUnreadable(Exception):
    """The journal can't be read; the message is one sentence that says why and what to do."""
