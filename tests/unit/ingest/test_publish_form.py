"""The form of a publish, as its headers have it, whether such headers came before or not."""

import uuid

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aggregator.ingest.publish_form import publish_form


@pytest.mark.parametrize(
    ("fields", "ndjson", "gzip"),
    [
        ({}, False, False),
        ({"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}, True, True),
        # Too long to be kept, and read all the same.
        ({"Prefer": "x" * 300, "Content-Encoding": "gzip"}, False, True),
        ({"Prefer": f"x-{uuid.uuid4().hex}", "Content-Encoding": "gzip"}, False, True),
    ],
    ids=["nothing", "lines", "long", "new"],
)
def test_form_is_that_of_the_headers(fields: dict[str, str], ndjson: bool, gzip: bool) -> None:
    for _ in range(2):
        form = publish_form(CIMultiDictProxy(CIMultiDict(fields)))
        assert (form.ndjson, form.gzip, form.response_headers) == (ndjson, gzip, {})
