"""Arrays passed to the server as one text argument each.

The driver spends long on every element of an array; a text it sends as it is.
"""

from collections.abc import Iterable, Sequence

from storage.errors import BatchRefused

SEPARATOR = "\x1f"
"""chr(31), a control character: in no name, and in no JSON text as it is."""


def join_texts(texts: Sequence[str]) -> str:
    """Join texts into one argument, for `string_to_array($n, chr(31))` on the server.

    Raises:
        BatchRefused: one is not a text, or contains the separator, so that the server could not
            split them again.
    """
    try:
        joined = SEPARATOR.join(texts)
    except TypeError as error:
        raise BatchRefused(f"not a text: {error}") from error
    if joined.count(SEPARATOR) >= max(len(texts), 1):
        raise BatchRefused("a text contains the control character U+001F")
    return joined


def join_integers(numbers: Iterable[int]) -> str:
    """Write integers as an array literal, for a cast such as `$n::text::bigint[]` on the server."""
    return f"{{{','.join(map(str, numbers))}}}"
