"""The format `journal`: what `journalctl -o json --all` writes."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import NoReturn

from publisher.ship.records.names import made_source
from publisher.ship.records.ndjson import MAX_RECORD_BYTES
from publisher.ship.records.record import ContentNames, Line, Reader, Record
from publisher.ship.records.single import SingleLineReader
from publisher.ship.records.source import SourceTemplate
from publisher.ship.records.times import Times

REALTIME = "__REALTIME_TIMESTAMP"
_MONOTONIC = "__MONOTONIC_TIMESTAMP"
_BOOT = "_BOOT_ID"
_KEPT = frozenset({REALTIME, _MONOTONIC})
_UNITS = ("_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "SYSLOG_IDENTIFIER", "_TRANSPORT")
_ID_DIGITS = 20
_is_boot = re.compile("[0-9a-f]{32}").fullmatch
_is_monotonic = re.compile("[0-9]{1,20}").fullmatch
_time_of = Times(["epoch-us"]).of_field


class _Number(str):
    """A number, as it is written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class JournalFormat:
    """Lines are entries of systemd's journal.

    An entry is the same in every copy of a journal. So neither its id nor its payload is made of
    the members that are the copy's: `__CURSOR`, `__SEQNUM`, `__SEQNUM_ID`, and the order of the
    members and of the values of a field that is repeated. Members that are null are left out too.

    Args:
        source: makes the source of each entry if it has fields. Without a template, that is
            `{host}:{unit}`, of the entry.
    """

    source: SourceTemplate | None = None
    name: str = "journal"
    max_line_bytes: int = MAX_RECORD_BYTES

    def reader(self, names: ContentNames) -> Reader:
        """Make a reader for one content."""
        return SingleLineReader(_Maker(self.source, names), self.max_line_bytes)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the record of a line of one content."""

    template: SourceTemplate | None
    names: ContentNames

    def __call__(self, line: Line) -> Iterable[Record]:
        text = line.data.strip()
        if not text:
            return ()
        entry = parse_entry(text)
        time = _time_of(_text(entry.get(REALTIME)))
        return (
            Record(
                line.position,
                line.chain,
                _payload(entry),
                time,
                _event_id(entry),
                None,
                self._source(entry),
                (line,),
                time_unread=time is None,
            ),
        )

    def _source(self, entry: Mapping[str, object]) -> str | None:
        if self.template is None:
            return _host_and_unit(entry)
        if not self.template.has_fields:
            return None
        host, path, name, _ = self.names
        return self.template.of_record(host, path, name, entry)


def parse_entry(text: bytes) -> dict[str, object]:
    """Parse an entry.

    Returns:
        Its members without those that are null or differ between copies of a journal; numbers are
        strings of a type of their own.

    Raises:
        ValueError: the text is no JSON object; one sentence.
        RecursionError: it is nested too deeply.
    """
    try:
        entry = json.loads(
            text.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, character {error.pos})") from error
    if not isinstance(entry, dict):
        raise ValueError("it is JSON, but not an object")  # noqa: TRY004 - a sentence for people
    return {
        name: value
        for name, value in entry.items()
        if value is not None and (name in _KEPT or not name.startswith("__"))
    }


def _event_id(entry: Mapping[str, object]) -> str:
    boot, monotonic = _text(entry.get(_BOOT)), _text(entry.get(_MONOTONIC))
    for name, fits in ((_BOOT, _is_boot(boot)), (_MONOTONIC, _is_monotonic(monotonic))):
        if not fits:
            raise ValueError(f"it has no {name} as the journal writes it")
    canonical = _object(dict(sorted(entry.items())), encode_basestring_ascii)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_ID_DIGITS]
    # With leading zeros the ids of a boot ascend.
    return f"{boot}-{int(monotonic):016d}-{digest}"


def _payload(entry: Mapping[str, object]) -> bytes:
    try:
        return _object(entry, encode_basestring).encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON has an escape for it.
        return _object(entry, encode_basestring_ascii).encode()


def _object(entry: Mapping[str, object], string: Callable[[str], str]) -> str:
    def written(value: object) -> str:
        match value:
            case _Number():
                return value
            case str():
                return string(value)
            case list():
                return f"[{','.join(map(written, value))}]"
            case dict():
                members = (f"{string(name)}:{written(each)}" for name, each in value.items())
                return f"{{{','.join(members)}}}"
            case _:
                return json.dumps(value)

    def field(value: object) -> str:
        # Numbers are the bytes of one value; anything else is values of a repeated field, which
        # have no order.
        if isinstance(value, list) and not all(isinstance(each, _Number) for each in value):
            texts = sorted(set(map(written, value)))
            return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
        return written(value)

    return f"{{{','.join([f'{string(name)}:{field(value)}' for name, value in entry.items()])}}}"


def _host_and_unit(entry: Mapping[str, object]) -> str:
    host = _text(entry.get("_HOSTNAME")) or "-"
    units = (_text(entry.get(name)) for name in _UNITS)
    return made_source(f"{host}:{next(filter(None, units), '-')}")


def _text(value: object) -> str:
    """Give a field as text, of a repeated one the first value; "" if it is none."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
