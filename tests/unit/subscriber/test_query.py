"""Arguments of `follow` that are out of range, or do not go together."""

from datetime import datetime
from typing import Any

import pytest

from subscriber import follow


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"topics": []}, "1 to 100 topics are needed, each with a name, not ()"),
        ({"topics": ["a"] * 101}, "1 to 100 topics are needed"),
        ({"topics": [""]}, "1 to 100 topics are needed, each with a name, not ('',)"),
        ({"after": 1, "start": "now"}, "after and start do not go together"),
        ({"last": 1, "since": "1h"}, "last and since do not go together"),
        ({"after": -1}, "an offset from 0, not -1 of a"),
        ({"after": 1, "topics": ["a", "b"]}, "a single topic without * and an offset from 0"),
        ({"after": 1, "topics": ["a.*"]}, "not 1 of a.*"),
        ({"last": 0}, "last must be from 1 to 5,000, not 0"),
        ({"last": 5001}, "last must be from 1 to 5,000, not 5001"),
        ({"start": "end"}, "start must be 'start' or 'now', not 'end'"),
        ({"since": datetime(2026, 1, 31)}, "has no time zone"),  # noqa: DTZ001
        ({"position": ""}, "'' is not a position that a stream gave"),
        ({"position": "1\n2"}, "is not a position that a stream gave"),
        ({"url": "http://127.0.0.1:1/?x"}, "is not an http or https URL"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_argument_out_of_range_is_refused_in_one_sentence(
    arguments: dict[str, Any], sentence: str
) -> None:
    topics = arguments.pop("topics", ["a"])
    url = arguments.pop("url", "http://127.0.0.1:1")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the sentence is compared below
        follow(url, *topics, **arguments)
    assert sentence in str(raised.value)
