"""The format `combined`: access logs of nginx and Apache, common and combined."""

import re
from dataclasses import dataclass

import msgspec

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import (
    ContentNames,
    Line,
    Reader,
    Record,
    is_cut,
    too_long,
)
from publisher.ship.records.single import SingleLineReader
from publisher.ship.records.times import Times

_encode = msgspec.json.Encoder().encode


def _quoted(name: str) -> str:
    return rf'"(?P<{name}>(?:[^"\\]|\\.)*)"'


# The length of a user is bounded so that a hostile line takes no more than its length in time.
_entry = re.compile(
    r"(?P<remote>\S+) \S+ (?P<user>.{1,256}?) "
    r"\[(?P<time>[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4})\] "
    rf"{_quoted('request')} (?P<status>[0-9]{{3}}|-) (?P<bytes>[0-9]{{1,18}}|-)"
    rf"(?: {_quoted('referer')} {_quoted('user_agent')}(?: .*)?)?"
).fullmatch
_request = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S.*?)(?: (HTTP/[0-9.]+))?").fullmatch
_NUMBERS = frozenset({"status", "bytes"})
_ABSENT = "-"
_time_of = Times(["%d/%b/%Y:%H:%M:%S %z"]).of_field


@dataclass(frozen=True, slots=True)
class CombinedFormat:
    """Lines are requests to a web server.

    What stands behind the fields of the combined format stays in the line alone.
    """

    name: str = "combined"
    max_line_bytes: int = MAX_PIECE_BYTES

    def reader(self, names: ContentNames) -> Reader:  # noqa: ARG002 - Format
        """Make a reader for one content."""
        return SingleLineReader(self._records, self.max_line_bytes)

    def _records(self, line: Line) -> tuple[Record]:
        if is_cut(line, self.max_line_bytes):
            raise ValueError(too_long(self.max_line_bytes))
        text, fields = parse_entry(line.data)
        payload: dict[str, object] = {"position": line.position, "line": text, **fields}
        if line.eol != b"\n":
            payload["eol"] = line.eol.decode()
        time = _time_of(str(fields["time"]))
        return (
            Record(
                line.position,
                line.chain,
                _encode(payload),
                time,
                None,
                None,
                None,
                (line,),
                time_unread=time is None,
            ),
        )


def parse_entry(data: bytes) -> tuple[str, dict[str, str | int]]:
    """Parse a line of an access log.

    Returns:
        The line as text, and its fields; those that are `-` are left out. Escapes in them are left
        as they are.

    Raises:
        ValueError: it is none; one sentence.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    match = _entry(text)
    if match is None:
        raise ValueError("it is no line of an access log in the common or combined format")
    fields: dict[str, str | int] = {}
    for name, value in match.groupdict().items():
        if value is None or value == _ABSENT:
            continue
        fields[name] = int(value) if name in _NUMBERS else value
        if name == "request" and (request := _request(value)):
            parts = zip(("method", "path", "protocol"), request.groups(), strict=True)
            fields |= {part: written for part, written in parts if written}
    return text, fields
