"""Reading an aggregator: its counts, and its log through the Links, also while it restarts."""

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
from publisher.refusals import one_line, reason_of, retry_after_s
from publisher.tls import lasting_tls_fault

_PASSES = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_PAGE_EVENTS = 5000
_TIMEOUT = aiohttp.ClientTimeout(total=60.0)
_NEXT = re.compile(r'<([^>]*)>; *rel="?next"?')

_T = TypeVar("_T")


class Counts(msgspec.Struct, frozen=True):
    """The counts of a topic; of one never seen all are 0."""

    received: int = 0
    unique_processed: int = 0
    duplicate_dropped: int = 0
    conflicts: int = 0
    head_offset: int = 0


class Stats(msgspec.Struct, frozen=True):
    """The counts that /stats gives.

    topics: by name, as far as they are known. in_pages: there are more than one answer lists.
    listed_to: those after this name are known only where they were asked for; None: all are.
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
        """Give the counts of a topic."""
        return self.topics.get(topic, Counts())

    def tells_of(self, topic: str) -> bool:
        """Whether the counts of a topic are known, be it that it has none."""
        return self.listed_to is None or topic <= self.listed_to or topic in self.topics


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as /events gives it; the payload is the text as it came."""

    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: msgspec.Raw
    offset: int
    ts_ingest: str


class ReadFailed(Exception):
    """The aggregator did not answer as one does; the message is one sentence."""


class _TryAgain(ReadFailed):
    wait_s = 0.0


_decode_stats = msgspec.json.Decoder(Stats).decode
_decode_events = msgspec.json.Decoder(list[StoredEvent]).decode


class Reader:
    """Reads from the aggregator at a URL.

    patience_s: for so long a read is tried again that fails for what may pass; 0: not at all.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, patience_s: float) -> None:
        self._session = session
        self._base = url.rstrip("/")
        # A URL may hold a password, which is nobody's business.
        self._shown = str(URL(self._base).with_user(None))
        self._patience_s = patience_s

    async def stats(self, topics: Collection[str] = ()) -> Stats:
        """Give the counts in all, and of the topics that one answer lists. Raises ReadFailed.

        topics: those that must be among them; what the answer does not tell of is asked for.
        """
        stats, following = await self._stats_page(URL(f"{self._base}/stats"))
        missing = [topic for topic in topics if not stats.tells_of(topic)]
        pages = stats.topics_total // max(len(stats.topics), 1)
        if len(missing) <= pages:
            for topic in missing:
                one, _ = await self._stats_page(URL(f"{self._base}/stats?topic={topic}"))
                stats.topics[topic] = one.of(topic)
            return stats
        last = max(missing)
        while following is not None and not stats.tells_of(last):
            page, following = await self._stats_page(following)
            stats = msgspec.structs.replace(
                stats, topics=stats.topics | page.topics, listed_to=page.listed_to
            )
        return stats

    async def _stats_page(self, url: URL) -> tuple[Stats, URL | None]:
        response, answer = await self._get(url)
        stats = _decoded(_decode_stats, response, answer)
        following = _following(url, response)
        if following is not None:
            last = max(stats.topics, default="")
            stats = msgspec.structs.replace(stats, in_pages=True, listed_to=last)
        return stats, following

    async def has(self, topic: str, event_id: str) -> bool:
        """Whether an event is in the log. Raises ReadFailed."""
        url = URL(f"{self._base}/events/{topic}/{quote(event_id, safe='')}", encoded=True)
        response, answer = await self._get(url, HTTPStatus.NOT_FOUND)
        if response.status == HTTPStatus.OK:
            return True
        # A proxy's 404 would say nothing about the log.
        if response.content_type != "application/problem+json":
            raise self._refused(response, answer)
        return False

    async def pages(self, topic: str, after: int) -> AsyncIterator[list[StoredEvent]]:
        """Give the events of a topic behind an offset, page by page. Raises ReadFailed."""
        url = URL(f"{self._base}/events?topic={topic}&after={after}&limit={_PAGE_EVENTS}")
        seen: set[URL] = set()
        while True:
            seen.add(url)
            response, answer = await self._get(url)
            yield _decoded(_decode_events, response, answer)
            following = _following(url, response)
            if following is None:
                return
            if following in seen:
                raise ReadFailed(f"the Links of {following} lead in a circle")
            url = following

    async def _get(self, url: URL, *expected: HTTPStatus) -> tuple[aiohttp.ClientResponse, bytes]:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience_s
        backoff = wait_random_exponential(multiplier=0.1, max=2.0)

        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            asked_s = failure.wait_s if isinstance(failure, _TryAgain) else 0.0
            return max(backoff(state), asked_s)

        def stop(state: RetryCallState) -> bool:
            return clock() + state.upcoming_sleep >= give_up_at

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgain), wait=wait, stop=stop, reraise=True
        )
        return await retrying(self._attempt, url, *expected)

    async def _attempt(
        self, url: URL, *expected: HTTPStatus
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        try:
            async with self._session.get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
                answer = await response.read()
        except TimeoutError as error:
            raise _TryAgain(f"{self._shown} did not answer within {_TIMEOUT.total:g} s") from error
        except aiohttp.ClientConnectorError as error:
            if fault := lasting_tls_fault(error):
                raise ReadFailed(fault) from error
            raise _TryAgain(f"cannot connect to {self._shown}: {connect_reason(error)}") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise _TryAgain(f"the connection to {self._shown} was lost: {error}") from error
        except aiohttp.ClientError as error:
            raise ReadFailed(f"{url} is not HTTP: {one_line(str(error))}") from error
        if response.status == HTTPStatus.OK or response.status in expected:
            return response, answer
        if response.status in _PASSES:
            failure = _TryAgain(str(self._refused(response, answer)))
            failure.wait_s = retry_after_s(response)
            raise failure
        raise self._refused(response, answer)

    @staticmethod
    def _refused(response: aiohttp.ClientResponse, answer: bytes) -> ReadFailed:
        reason = reason_of(response, answer)
        request_id = response.headers.get("X-Request-ID")
        named = one_line(f" (request id {request_id})", start=" ") if request_id else ""
        return ReadFailed(f"{response.url} is answered {response.status}: {reason}{named}")


def _following(url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Where the Link of a page leads, relative to the URL that was asked for; None at the end.

    That of the response lacks the user and the password.
    """
    found = _NEXT.search(response.headers.get("Link", ""))
    return url.join(URL(found[1], encoded=True)) if found else None


def _decoded(decode: Callable[[bytes], _T], response: aiohttp.ClientResponse, answer: bytes) -> _T:
    try:
        return decode(answer)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ReadFailed(f"{response.url} is not answered by an aggregator: {error}") from error
