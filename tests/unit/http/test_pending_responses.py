"""Responses on their way are bounded in bytes and in time; what a stream holds is dropped first."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from aggregator.http.pending_responses import PendingResponse, PendingResponses
from aggregator.request_context import RequestContext

TIMEOUT_S = 60.0


class Connection:
    """A transport whose reader takes what a test says."""

    def __init__(self) -> None:
        self.given = self.taken = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.given - self.taken

    def abort(self) -> None:
        self.aborted = True


class Stream:
    """A stream with so many bytes in memory that it can read again."""

    def __init__(self, responses: PendingResponses, size: int) -> None:
        self.connection = Connection()
        self.pending = begin(responses, self.connection, 0, self)
        self._responses = responses
        responses.resize(self.pending, size)

    def drop(self) -> None:
        self._responses.resize(self.pending, 1)


def begin(
    responses: PendingResponses, connection: Connection, size: int, stream: Stream | None = None
) -> PendingResponse:
    context = RequestContext("r-1", "GET", "/events", "/events", "", "", 0.0, None)
    transport: Any = connection
    return responses.begin(
        transport, context, size, lambda: connection.given,
        drop=None if stream is None else stream.drop,
    )  # fmt: skip


@pytest.fixture
async def responses() -> AsyncIterator[PendingResponses]:
    responses = PendingResponses(max_bytes=100, timeout_s=TIMEOUT_S)
    yield responses
    if responses._timer is not None:
        responses._timer.cancel()


def pass_time(responses: PendingResponses) -> None:
    """Let the time to take a response be over for all that are on their way."""
    for pending in list(responses._pending):
        pending.since -= TIMEOUT_S
    responses._expire()


async def test_streams_drop_what_they_can_read_again_before_anybody_is_cut_off(
    responses: PendingResponses,
) -> None:
    streams = [Stream(responses, 45) for _ in range(2)]
    page = Connection()
    begin(responses, page, 90)
    assert responses.bytes == 92
    assert not any(each.connection.aborted for each in streams)
    # Nothing that could be dropped is left.
    begin(responses, Connection(), 60)
    assert responses.bytes <= 100
    assert page.aborted or any(each.connection.aborted for each in streams)


async def test_a_stream_that_grows_has_the_others_drop_theirs(responses: PendingResponses) -> None:
    first, second = (Stream(responses, 50) for _ in range(2))
    responses.resize(second.pending, 90)
    assert (first.pending.size, second.pending.size) == (1, 90)
    assert not first.connection.aborted


async def test_a_stream_has_its_time_anew_whenever_some_of_it_was_taken(
    responses: PendingResponses,
) -> None:
    stream = Stream(responses, 50)
    stream.connection.given = 50
    for taken in (1, 2, 49):
        stream.connection.taken = taken
        pass_time(responses)
        assert not stream.connection.aborted
    with structlog.testing.capture_logs() as logged:
        pass_time(responses)
    assert stream.connection.aborted
    assert responses.bytes == 0
    (line,) = logged
    assert (line["event"], line["bytes"], line["sent"]) == ("response_aborted", 50, 49)


async def test_a_stream_that_has_nothing_to_give_is_not_cut_off(
    responses: PendingResponses,
) -> None:
    stream = Stream(responses, 0)
    stream.connection.given = stream.connection.taken = 10
    for _ in range(3):
        pass_time(responses)
    assert not stream.connection.aborted


async def test_a_page_has_its_time_once(responses: PendingResponses) -> None:
    page = Connection()
    begin(responses, page, 50)
    page.given, page.taken = 50, 20
    pass_time(responses)
    assert page.aborted


async def test_a_stream_that_goes_on_does_not_hide_a_page_that_does_not(
    responses: PendingResponses,
) -> None:
    stream, page = Stream(responses, 20), Connection()
    begin(responses, page, 20)
    stream.connection.given, stream.connection.taken = 20, 10
    page.given = 20
    pass_time(responses)
    assert page.aborted
    assert not stream.connection.aborted
