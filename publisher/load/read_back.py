"""A client that reads an aggregator's counts and its log, also while the aggregator restarts."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential
from yarl import URL

from publisher.attempt import connect_reason
from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.refusals import one_line, reason_of, retry_after_s
from publisher.tls import lasting_tls_fault
from publisher.tokens import CredentialsInvalid, TokenUnavailable

_RETRIED_STATUSES = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_PAGE_EVENTS = 5000
_TIMEOUT = aiohttp.ClientTimeout(total=60.0)
_NEXT = re.compile(r'<([^>]*)>; *rel="?next"?')

_T = TypeVar("_T")


class Counts(msgspec.Struct, frozen=True):
    """The counts of a topic; those of an unknown topic are 0."""

    received: int = 0
    unique_processed: int = 0
    duplicate_dropped: int = 0
    conflicts: int = 0
    head_offset: int = 0


class Stats(msgspec.Struct, frozen=True):
    """The counts of a response of /stats.

    Args:
        received: the count of all topics.
        unique_processed: the count of all topics.
        duplicate_dropped: the count of all topics.
        conflicts: the count of all topics.
        topics: the counts of the topics by name, as far as they are known.
        topics_total: the number of topics.
        backend: the aggregator's backend.
        in_pages: there are more topics than one response lists.
        listed_to: topics after this name are known only if they were requested by name; None if all
            are known.
    """

    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int
    topics: dict[str, Counts]
    topics_total: int = 0
    backend: str = "unknown"
    in_pages: bool = False
    listed_to: str | None = None

    def of(self, topic: str) -> Counts:
        """Return the counts of a topic."""
        return self.topics.get(topic, Counts())

    def knows(self, topic: str) -> bool:
        """Return whether the counts of a topic are known, which includes that it has none."""
        return self.listed_to is None or topic <= self.listed_to or topic in self.topics


class StoredEvent(msgspec.Struct, frozen=True):
    """A stored event in a response of /events, with its payload as the text that came."""

    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: msgspec.Raw
    offset: int
    ts_ingest: str


class ReadFailed(Exception):
    """The aggregator gave no valid response; the message is one sentence."""


class _TransientFailure(ReadFailed):
    wait_s = 0.0


_decode_stats = msgspec.json.Decoder(Stats).decode
_decode_events = msgspec.json.Decoder(list[StoredEvent]).decode


class Reader:
    """Reads from the aggregator at a URL.

    Args:
        session: the HTTP session to read with.
        url: the aggregator's URL.
        deadline_s: time for the attempts of one read, in seconds; 0 for a single attempt.
        credentials: what is shown with each request.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        deadline_s: float,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self._session = session
        self._credentials = credentials
        self._base = url.rstrip("/")
        # Without the user and the password of the URL.
        self._shown = str(URL(self._base).with_user(None))
        self._deadline_s = deadline_s

    async def stats(self, topics: Collection[str] = ()) -> Stats:
        """Read the counts in all, and of the topics that one response lists.

        Args:
            topics: topics that must be among them; those that are missing are read one by one, or
                page by page.

        Raises:
            ReadFailed: the aggregator gave no valid response.
        """
        stats, next_url = await self._stats_page(URL(f"{self._base}/stats"))
        missing = [topic for topic in topics if not stats.knows(topic)]
        pages = stats.topics_total // max(len(stats.topics), 1)
        if len(missing) <= pages:
            for topic in missing:
                one, _ = await self._stats_page(URL(f"{self._base}/stats?topic={topic}"))
                stats.topics[topic] = one.of(topic)
            return stats
        last = max(missing)
        while next_url is not None and not stats.knows(last):
            page, next_url = await self._stats_page(next_url)
            stats = msgspec.structs.replace(
                stats, topics=stats.topics | page.topics, listed_to=page.listed_to
            )
        return stats

    async def _stats_page(self, url: URL) -> tuple[Stats, URL | None]:
        response, answer = await self._get(url)
        stats = _decoded(_decode_stats, response, answer)
        next_url = _next_url(url, response)
        if next_url is not None:
            last = max(stats.topics, default="")
            stats = msgspec.structs.replace(stats, in_pages=True, listed_to=last)
        return stats, next_url

    async def has(self, topic: str, event_id: str) -> bool:
        """Return whether an event is in the log.

        Args:
            topic: the event's topic.
            event_id: the event's id.

        Raises:
            ReadFailed: the aggregator gave no valid response.
        """
        url = URL(f"{self._base}/events/{topic}/{quote(event_id, safe='')}", encoded=True)
        response, _ = await self._get(url, HTTPStatus.NOT_FOUND)
        return response.status == HTTPStatus.OK

    async def pages(self, topic: str, after: int) -> AsyncIterator[list[StoredEvent]]:
        """Read the events of a topic behind an offset, page by page.

        Args:
            topic: the name of the topic.
            after: the offset.

        Yields:
            The events of one page, in the order of their offsets.

        Raises:
            ReadFailed: the aggregator gave no valid response.
        """
        url = URL(f"{self._base}/events?topic={topic}&after={after}&limit={_PAGE_EVENTS}")
        seen: set[URL] = set()
        while True:
            seen.add(url)
            response, answer = await self._get(url)
            yield _decoded(_decode_events, response, answer)
            next_url = _next_url(url, response)
            if next_url is None:
                return
            if next_url in seen:
                raise ReadFailed(f"the Links of {next_url} lead in a circle")
            url = next_url

    async def _get(self, url: URL, *expected: HTTPStatus) -> tuple[aiohttp.ClientResponse, bytes]:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._deadline_s
        backoff = wait_random_exponential(multiplier=0.1, max=2.0)

        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            retry_after_s = failure.wait_s if isinstance(failure, _TransientFailure) else 0.0
            return max(backoff(state), retry_after_s)

        def stop(state: RetryCallState) -> bool:
            return clock() + state.upcoming_sleep >= give_up_at

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TransientFailure), wait=wait, stop=stop, reraise=True
        )
        return await retrying(self._attempt, url, *expected)

    async def _attempt(
        self, url: URL, *expected: HTTPStatus
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        try:
            presented = self._credentials.present()
        except TokenUnavailable as error:
            raise _TransientFailure(str(error)) from error
        except CredentialsInvalid as error:
            raise ReadFailed(str(error)) from error
        try:
            async with self._session.get(
                url, headers=presented.headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failure_of(error, url) from error
        # A proxy's 404 would say nothing about the log.
        is_expected = (
            response.status in expected and response.content_type == "application/problem+json"
        )
        if response.status == HTTPStatus.OK or is_expected:
            return response, answer
        refusal = presented.refusal(
            response.status, reason_of(response, answer, hide=presented.hide)
        )
        refused = _refused(response, refusal.reason)
        if refusal.may_pass or response.status in _RETRIED_STATUSES:
            failure = _TransientFailure(str(refused))
            failure.wait_s = retry_after_s(response)
            raise failure
        raise refused

    def _failure_of(self, error: Exception, url: URL) -> ReadFailed:
        """Class the failure of a request that ended without a response."""
        if isinstance(error, TimeoutError):
            return _TransientFailure(f"{self._shown} did not answer within {_TIMEOUT.total:g} s")
        if isinstance(error, aiohttp.ClientConnectionError) and (fault := lasting_tls_fault(error)):
            return ReadFailed(fault)
        match error:
            case aiohttp.ClientConnectorError():
                reason = connect_reason(error)
                return _TransientFailure(f"cannot connect to {self._shown}: {reason}")
            case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
                return _TransientFailure(f"the connection to {self._shown} was lost: {error}")
        return ReadFailed(f"{url} is not HTTP: {one_line(str(error))}")


def _refused(response: aiohttp.ClientResponse, reason: str) -> ReadFailed:
    request_id = response.headers.get("X-Request-ID")
    named = one_line(f" (request id {request_id})", start=" ") if request_id else ""
    return ReadFailed(f"{response.url} is answered {response.status}: {reason}{named}")


def _next_url(url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Return the URL of the next page, None at the end.

    It is relative to the URL of the request, since that of the response lacks user and password.
    """
    found = _NEXT.search(response.headers.get("Link", ""))
    if not found:
        return None
    next_url = url.join(URL(found[1], encoded=True))
    # Anybody else would get the credentials.
    if (next_url.scheme, next_url.host, next_url.port) != (url.scheme, url.host, url.port):
        raise ReadFailed(one_line(f"the Link of {response.url} leads elsewhere, to {found[1]}"))
    return next_url


def _decoded(decode: Callable[[bytes], _T], response: aiohttp.ClientResponse, answer: bytes) -> _T:
    try:
        return decode(answer)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ReadFailed(f"{response.url} is not answered by an aggregator: {error}") from error
