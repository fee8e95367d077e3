"""Formats by their names and options."""

from dataclasses import dataclass

from publisher.ship.records.auto import AutoFormat
from publisher.ship.records.combined import CombinedFormat
from publisher.ship.records.cri import CriFormat
from publisher.ship.records.docker import DockerFormat
from publisher.ship.records.journal import JournalFormat
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.multiline import RecordStart
from publisher.ship.records.ndjson import NdjsonFormat
from publisher.ship.records.record import Format
from publisher.ship.records.source import SourceTemplate
from publisher.ship.records.times import Times

FORMATS = ("lines", "ndjson", "docker", "cri", "journal", "combined", "auto")
"""The names of all formats."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a format, as the command line has them; None or empty: not given.

    Args:
        format: one of FORMATS.
        id_field: path of the member that has the event_id.
        topic_field: path of the member that has the topic.
        time_field: path of the member that has the time.
        time_formats: how times are written, tried in turn.
        time_zone: IANA name of the zone of times without one.
        multiline: a regular expression of lines that begin a record.
        source: the template of sources.
    """

    format: str = "lines"
    id_field: str | None = None
    topic_field: str | None = None
    time_field: str | None = None
    time_formats: tuple[str, ...] = ()
    time_zone: str | None = None
    multiline: str | None = None
    source: SourceTemplate | None = None


def make_format(options: Options) -> Format:
    """Make the format that options describe.

    Raises:
        ValueError: the options do not go together, or one of them is wrong; one sentence.
    """
    _check(options)
    match options.format:
        case "ndjson":
            times = Times(options.time_formats, options.time_zone) if options.time_field else None
            return NdjsonFormat(
                options.id_field, options.topic_field, options.time_field, times, options.source
            )
        case "docker":
            return DockerFormat()
        case "cri":
            return CriFormat()
        case "journal":
            return JournalFormat(options.source)
        case "combined":
            return CombinedFormat()
        case "auto":
            return AutoFormat(options.source)
        case _:
            formats = options.time_formats
            return LinesFormat(
                Times(formats, options.time_zone) if formats else None,
                None if options.multiline is None else RecordStart(options.multiline),
            )


def _check(options: Options) -> None:
    name = options.format
    if name not in FORMATS:
        raise ValueError(f"--format {name!r} is none of {', '.join(FORMATS)}")
    only_with: dict[str, tuple[object, tuple[str, ...]]] = {
        "--id-field": (options.id_field, ("ndjson",)),
        "--topic-field": (options.topic_field, ("ndjson",)),
        "--time-field": (options.time_field, ("ndjson",)),
        "--time-format": (options.time_formats or None, ("lines", "ndjson")),
        "--time-zone": (options.time_zone, ("lines", "ndjson")),
        "--multiline": (options.multiline, ("lines",)),
        "{field:...} in --source": (
            (options.source is not None and options.source.has_fields) or None,
            ("ndjson", "journal"),
        ),
    }
    for option, (given, formats) in only_with.items():
        if given == "":
            raise ValueError(f"{option} is empty")
        if given is not None and name not in formats:
            raise ValueError(f"{option} goes with --format {' or '.join(formats)}, not with {name}")
    _check_times(options)


def _check_times(options: Options) -> None:
    given = "--time-format" if options.time_formats else "--time-zone"
    if options.time_formats or options.time_zone is not None:
        if options.format == "ndjson" and options.time_field is None:
            raise ValueError(f"{given} needs --time-field with --format ndjson")
        if options.format == "lines" and not options.time_formats:
            raise ValueError(f"{given} needs --time-format with --format lines")
