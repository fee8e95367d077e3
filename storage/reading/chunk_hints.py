"""Hints of how many rows a page begins with, from the pages before it."""

_FIRST_CHUNK_ROWS = 32
"""Nothing is known of their sizes: to measure a payload, SQLite has to read it."""

_MAX_HINTS = 1000


class ChunkHints:
    """Memory of how many rows the last chunk of a topic was made for; the next page begins so."""

    def __init__(self) -> None:
        self._rows: dict[str | None, int] = {}

    def rows(self, topic: str | None) -> int:
        """Return the rows of the first chunk of a page.

        Args:
            topic: that it is of; None: across topics.
        """
        return self._rows.get(topic, _FIRST_CHUNK_ROWS)

    def keep(self, topic: str | None, rows: int) -> None:
        """Keep the number of rows for the next page."""
        if topic not in self._rows and len(self._rows) >= _MAX_HINTS:
            self._rows.clear()
        self._rows[topic] = rows
