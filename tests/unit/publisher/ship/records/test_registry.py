"""Options make formats, or are refused with one sentence."""

from dataclasses import replace
from typing import Any

import pytest
from unit.publisher.ship.records.feeding import payload_of, records_of

from publisher.ship.records.registry import FORMATS, Options, make_format
from publisher.ship.records.source import SourceTemplate

FIELDS = SourceTemplate.parse("{field:a}")


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_made_by_their_names(name: str) -> None:
    made = make_format(Options(name, source=SourceTemplate.parse("{host}")))
    assert made.name == name
    assert made.max_line_bytes in {131_072, 1_048_576}


def test_options_of_ndjson_are_those_of_the_format() -> None:
    made = make_format(
        Options("ndjson", "i", "t", "at", ("asctime",), "Europe/Berlin", source=FIELDS)
    )
    line = b'{"i":"1","t":"shop","at":"2026-11-30 12:00:00,5","a":"b"}\n'
    (record,) = records_of(made, line)
    assert record[3:7] == ("2026-11-30T11:00:00.500000Z", "1", "shop", "b")


def test_options_of_lines_are_those_of_the_format() -> None:
    made = make_format(
        Options("lines", time_formats=("%H %d %m %Y",), time_zone="Asia/Tokyo", multiline="1")
    )
    (record,) = records_of(made, b"12 30 11 2026 a\nb\n")
    assert record.time == "2026-11-30T03:00:00.000000Z"
    assert payload_of(record)["line"] == "12 30 11 2026 a\nb"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"format": "xml"}, "--format 'xml' is none of lines, ndjson,"),
        ({"id_field": "a"}, "--id-field goes with --format ndjson, not with lines"),
        ({"topic_field": "a", "format": "auto"}, "--topic-field goes with"),
        ({"time_field": "a", "format": "docker"}, "--time-field goes with"),
        ({"id_field": "", "format": "ndjson"}, "--id-field is empty"),
        ({"multiline": "a", "format": "ndjson"}, "--multiline goes with --format lines, not with"),
        ({"multiline": "("}, "--multiline '(' is no regular expression"),
        ({"time_formats": ("asctime",), "format": "cri"}, "--time-format goes with"),
        ({"time_zone": "UTC", "format": "journal"}, "--time-zone goes with"),
        ({"time_formats": ("asctime",), "format": "ndjson"}, "--time-format needs --time-field"),
        ({"time_zone": "UTC", "format": "ndjson"}, "--time-zone needs --time-field"),
        ({"time_zone": "UTC"}, "--time-zone needs --time-format"),
        ({"time_formats": ("%Q",)}, "--time-format '%Q' has %Q, which is not known"),
        ({"time_formats": ("asctime",), "time_zone": "Mars/Base"}, "--time-zone 'Mars/Base' is no"),
        ({"source": FIELDS}, "{field:...} in --source goes with --format ndjson or journal"),
        ({"source": FIELDS, "format": "auto"}, "{field:...} in --source goes with"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="--") as refused:
        make_format(replace(Options(), **options))
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)
