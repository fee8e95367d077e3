"""An unforeseen error is found by the trace of its request, whichever way the request came."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from support.events import published
from support.in_process import InProcessStore
from support.served import Served, serving, talking
from support.sockets import post
from support.stores import ControlledStore

from aggregator.http import problem_details
from aggregator.ingest.publish_service import Publish
from storage.model import Stats, Verdict

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"
PUBLISH = post(json.dumps(published()).encode(), traceparent=SENT, X_Request_ID="r-1")
STATS = f"GET /stats HTTP/1.1\r\nHost: x\r\ntraceparent: {SENT}\r\nX-Request-ID: r-1\r\n\r\n"


class Defective(ControlledStore):
    """Its counts can't be read."""

    async def stats(self, **_asked: Any) -> Stats:
        raise RuntimeError("a bug")


def fail(*_: object) -> Sequence[Verdict]:
    raise RuntimeError("a bug")


async def logged_failure(served: Served, request: bytes) -> Mapping[str, object]:
    """What is logged of a request that meets a bug."""
    with structlog.testing.capture_logs() as logged:
        async with talking(served) as talk:
            assert (await talk.answer(request))[0] == 500
    (line,) = [line for line in logged if line["event"] == "request_failed"]
    return line


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(PUBLISH, id="short"),
        pytest.param(PUBLISH.replace(b"/publish ", b"/publish? "), id="usual"),
        pytest.param(STATS.encode(), id="another path"),
    ],
)
async def test_a_failure_is_in_the_trace_of_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    for module in (problem_details,):
        monkeypatch.setattr(module, "_log", structlog.get_logger())
    monkeypatch.setattr(Publish, "_parse", fail)
    async with serving(tmp_path, Defective(InProcessStore(tmp_path / "log.db"))) as served:
        line = await logged_failure(served, request_)
    assert line.items() >= {"request_id": "r-1", "trace_id": TRACE, "span_id": SPAN}.items()
