"""The format `ndjson`: every line is a JSON object, which is the payload as it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from publisher.events import parse_record
from publisher.ship.records.fields import FieldMissing, FieldUnfit, text_field
from publisher.ship.records.names import made_id, made_topic
from publisher.ship.records.record import ContentNames, Line, Reader, Record
from publisher.ship.records.single import SingleLineReader
from publisher.ship.records.source import SourceTemplate
from publisher.ship.records.times import Times

MAX_RECORD_BYTES = 1024 * 1024
"""What an aggregator takes as one payload."""


@dataclass(frozen=True, slots=True)
class NdjsonFormat:
    """Lines are JSON objects; blank lines are nothing.

    Args:
        id_field: path of the member that has the event_id; without it, the id is made of the
            line's content and place.
        topic_field: path of the member that has the topic, if there is one.
        time_field: path of the member that has the time.
        times: reads it.
        source: makes the source of each record if it has fields.
    """

    id_field: str | None = None
    topic_field: str | None = None
    time_field: str | None = None
    times: Times | None = None
    source: SourceTemplate | None = None
    name: str = "ndjson"
    max_line_bytes: int = MAX_RECORD_BYTES

    def reader(self, names: ContentNames) -> Reader:
        """Make a reader for one content."""
        template = self.source if self.source is not None and self.source.has_fields else None
        times = None if self.time_field is None else self.times or Times()
        return SingleLineReader(_Maker(self, times, template, names), self.max_line_bytes)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the record of a line of one content."""

    options: NdjsonFormat
    times: Times | None
    template: SourceTemplate | None
    names: ContentNames

    def __call__(self, line: Line) -> Iterable[Record]:
        text = line.data.strip()
        if not text:
            return ()
        options = self.options
        try:
            record = parse_record(text)
        except TypeError as error:
            raise ValueError(str(error)) from error
        event_id = options.id_field and _id(record, options.id_field)
        time = self.times and self._time(self.times, record)
        source = None
        if self.template is not None:
            host, path, name, _ = self.names
            source = self.template.of_record(host, path, name, record)
        return (
            Record(
                line.position,
                line.chain,
                text,
                time or None,
                event_id,
                self._topic(record),
                source,
                (line,),
                time_unread=self.times is not None and not time,
            ),
        )

    def _topic(self, record: Mapping[str, object]) -> str | None:
        text = _text(record, self.options.topic_field)
        return None if text is None else made_topic(text)

    def _time(self, times: Times, record: Mapping[str, object]) -> str | None:
        text = _text(record, self.options.time_field)
        return None if text is None else times.of_field(text)


def _id(record: Mapping[str, object], path: str) -> str:
    text = text_field(record, path)
    if not text:
        # Its digest would be one id for all such records.
        raise FieldUnfit(f"its field {path!r} is empty")
    return made_id(text)


def _text(record: Mapping[str, object], path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return text_field(record, path)
    except (FieldMissing, FieldUnfit):
        return None
