r"""Masking of valid JSON that msgspec refuses, so that it decodes without losing a byte.

Two forms are JSON by RFC 8259 and refused by msgspec: an escaped lone surrogate (`\ud800`)
and nesting deeper than the interpreter's recursion limit. The contract keeps the first
inside payloads and refuses the second for one event alone, so neither may fail the whole
body. Each is replaced by a mark that occurs nowhere in the body, and a marked text can be
restored as it was sent. Only bodies that msgspec refused are masked.
"""

import re
import secrets

import msgspec

from aggregator.wire.errors import MalformedBody

_KEEP_LEVELS = 150
"""More than a payload's 128 levels with an event, an array and an envelope around it, and far below
any recursion limit."""

# For a text in which every backslash begins an escape: one half of a pair then has the other
# right beside it, or is lone. Only what is lone is a match, for a match of every pair would
# cost more than the body. Python 3.11.2 goes on wrongly after a possessive group that failed
# half way, so there is none here.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB](?!..\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])"
    rb"[0-9a-fA-F]{2}",
    re.DOTALL,
)
# A string that never ends is taken to the end of the text: were it passed over, the search
# would start again at each of its quotes, in quadratic time.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_MAY_BE_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_check = msgspec.json.Decoder(msgspec.Raw).decode


def may_have_lone_surrogate(text: bytes) -> bool:
    """Return whether masking could make a text decodable that msgspec found malformed."""
    return _MAY_BE_LONE.search(text) is not None


def _new_mark() -> bytes:
    # No hexadecimal digit comes first: it would complete an escape that is cut short ahead of it.
    return b"s" + secrets.token_hex(4).encode()


class Masked:
    """A body whose lone surrogates are marked, and on demand its over-deep containers.

    Args:
        body: any bytes.
        flatten: mark the containers that nest too deep, which takes longer.

    Raises:
        MalformedBody: an over-deep container is not JSON.
    """

    def __init__(self, body: bytes, *, flatten: bool) -> None:
        mark = _new_mark()
        while mark in body:
            mark = _new_mark()
        self._surrogate = mark + b"s"
        self._deep = mark + b"d"
        marked = self._mark_surrogates(body)
        self.body = self._mark_deep(marked) if flatten else marked
        """The masked body, to be decoded."""

    def has_surrogate(self, text: bytes) -> bool:
        """Return whether a part of `body` held an escaped lone surrogate."""
        return self._surrogate in text

    def has_deep(self, text: bytes) -> bool:
        """Return whether a part of `body` held a container that nests too deep."""
        return self._deep in text

    def sent_size(self, text: bytes) -> int:
        """Return the size of a part of `body` as it was sent, in bytes."""
        size = len(self.restore(text))
        for cut in re.finditer(rb'"%b(\d+)"' % self._deep, text):
            size += int(cut[1]) - len(cut[0])
        return size

    def restore(self, text: bytes) -> bytes:
        """Return a part of `body` without an over-deep container as it was sent."""
        return text.replace(self._surrogate, b"\\u")

    def _mark_surrogates(self, body: bytes) -> bytes:
        # Pairs of backslashes are blanked out in place, from the left: the others begin escapes.
        escapes = body.replace(rb"\\", b"  ")
        marked = bytearray()
        copied = 0
        for found in _LONE_SURROGATE.finditer(escapes):
            marked += body[copied : found.start()]
            marked += self._surrogate
            copied = found.start() + len(rb"\u")
        marked += body[copied:]
        return bytes(marked)

    def _mark_deep(self, body: bytes) -> bytes:
        # Every _KEEP_LEVELS levels begin a band of their own. A band's text, in which the
        # bands below it are marks, is shallow: msgspec checks it like any other JSON.
        bands: list[list[bytes]] = [[]]
        starts: list[int] = []
        depth = copied = 0
        for token in _STRING_OR_BRACKET.finditer(body):
            kind = token[0][:1]
            if kind in b"[{":
                depth += 1
                if depth % _KEEP_LEVELS == 0:
                    bands[-1].append(body[copied : token.start()])
                    bands.append([])
                    starts.append(token.start())
                    copied = token.start()
            elif kind in b"]}":
                if depth % _KEEP_LEVELS == 0 and starts:
                    bands[-1].append(body[copied : token.end()])
                    self._check_band(b"".join(bands.pop()))
                    start = starts.pop()
                    copied = token.end()
                    size = 0 if starts else len(self.restore(body[start:copied]))
                    bands[-1].append(b'"%b%d"' % (self._deep, size))
                depth -= 1
        if starts:
            raise MalformedBody("a bracket is never closed")
        bands[-1].append(body[copied:])
        return b"".join(bands[-1])

    def _check_band(self, text: bytes) -> None:
        try:
            _check(text)
        except msgspec.DecodeError as error:
            raise MalformedBody(f"{error}, in a deep container") from error
