"""The requests about subscriptions over HTTP, each sent once."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from publisher.credentials import NO_CREDENTIALS, Credentials, Presented
from publisher.refusals import reason_of, retry_after_s
from publisher.tokens import CredentialsInvalid, TokenUnavailable
from publisher.urls import check_base_url
from publisher.user_agent import user_agent
from subscriber.calls.answers import (
    NotOfSubscriptions,
    code_of,
    parse_leased,
    parse_settings,
    parse_settled,
)
from subscriber.calls.requests import CallFailed, Leased, Settings, Settle, Settled
from subscriber.errors import LeaseLost, SubscriptionRefused
from subscriber.failures import failure_of

_HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": user_agent("subscriber"),
}
_RETRIED_STATUSES = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_OK_STATUSES = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Far above what an aggregator gives: a lease ends at 8 MiB, or with one larger event."""
_ANSWER_S = 30.0

_Parsed = TypeVar("_Parsed")


class Answer:
    """A successful answer.

    Args:
        body: its bytes.
        next_url: of the next page, if there is one.
    """

    def __init__(self, body: bytes, next_url: URL | None) -> None:
        self.body = body
        self.next_url = next_url

    def json(self) -> Any:
        """Return the JSON value of the body."""
        return json.loads(self.body)


class HttpCalls:
    """Sends requests about subscriptions to an aggregator, each once; see `Calls`.

    Args:
        url: the aggregator's URL, without `/subscriptions`.
        credentials: what is shown with each request.
        answer_s: the longest wait for an answer, beside what it was asked to wait, in seconds.

    Raises:
        ValueError: it is no such URL, or the credentials do not go with it; one sentence.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        answer_s: float = _ANSWER_S,
    ) -> None:
        check_base_url(url)
        self._credentials = credentials or NO_CREDENTIALS
        self._credentials.check_url(url)
        self._base = url.rstrip("/")
        self._answer_s = answer_s
        self._session: aiohttp.ClientSession | None = None

    async def create(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make a subscription, unless it is there with the same settings."""
        await self.send("PUT", f"/{quote(name, safe='')}", settings)

    async def settings(self, name: str) -> Settings:
        """Return the settings of a subscription."""
        answer = await self.send("GET", f"/{quote(name, safe='')}")
        return _parsed(parse_settings, answer)

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        """Lease events, behind what is settled in the same request."""
        asked: dict[str, object] = {
            "consumer": consumer,
            "max_events": max_events,
            "wait_ms": wait_ms,
        }
        if settle is not None:
            asked["settle"] = _members(settle)
        answer = await self.send("POST", f"/{quote(name, safe='')}/lease", asked, wait_ms / 1000)
        return _parsed(parse_leased, answer)

    async def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events of a lease."""
        answer = await self.send("POST", f"/{quote(name, safe='')}/settle", _members(settle))
        return _parsed(parse_settled, answer)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self, method: str, path: str | URL, body: object = None, wait_s: float = 0.0
    ) -> Answer:
        """Send a request once.

        Args:
            method: of HTTP.
            path: the path behind `/subscriptions`, with its query; or the URL of a next page.
            body: what is sent as JSON; None: nothing.
            wait_s: how long it asks the aggregator to wait, in seconds.

        Raises:
            CallFailed: another attempt may succeed.
            LeaseLost: the lease of the settle is lost.
            SubscriptionRefused: another attempt would not change the answer.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=self._credentials.connector())
        url = path if isinstance(path, URL) else URL(f"{self._base}/subscriptions{path}")
        timeout_s = self._answer_s + wait_s
        try:
            presented = self._credentials.present()
        except TokenUnavailable as error:
            raise CallFailed(str(error)) from error
        except CredentialsInvalid as error:
            raise SubscriptionRefused(None, str(error)) from error
        try:
            async with self._session.request(
                method,
                url,
                # ASCII: the text of an error may hold what has no UTF-8.
                data=None if body is None else json.dumps(body).encode(),
                headers={**_HEADERS, **presented.headers},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                answer = await _read(response)
        except TimeoutError as error:
            raise CallFailed(f"no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            failure = failure_of(error, url, "answer")
            if failure.may_pass:
                raise CallFailed(failure.sentence) from error
            raise SubscriptionRefused(None, failure.sentence) from error
        if response.status in _OK_STATUSES:
            return Answer(answer, _next_url(response))
        raise _refusal(response, answer, presented)


def _next_url(response: aiohttp.ClientResponse) -> URL | None:
    link = response.links.get("next")
    return None if link is None else URL(str(link["url"]))


def _refusal(response: aiohttp.ClientResponse, answer: bytes, presented: Presented) -> Exception:
    reason, may_pass = presented.refusal(
        response.status, reason_of(response, answer, hide=presented.hide, names_event=False)
    )
    if may_pass or response.status in _RETRIED_STATUSES:
        return CallFailed(f"{response.status} {reason}", retry_after_s(response))
    if response.status == HTTPStatus.CONFLICT and code_of(answer) == "lease_lost":
        return LeaseLost(reason)
    return SubscriptionRefused(response.status, reason)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a response, bounded, since its sender may be anything."""
    answer = bytearray()
    while len(answer) <= _MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
        answer += chunk
    return bytes(answer)


def _parsed(parse: Callable[[bytes], _Parsed], answer: Answer) -> _Parsed:
    try:
        return parse(answer.body)
    except NotOfSubscriptions as error:
        raise SubscriptionRefused(200, str(error)) from error


def _members(settle: Settle) -> dict[str, object]:
    members: dict[str, object] = {"lease": settle.lease}
    if settle.ack:
        members["ack"] = settle.ack
    if settle.retry:
        members["retry"] = [each._asdict() for each in settle.retry]
    if settle.dead:
        members["dead"] = [each._asdict() for each in settle.dead]
    if settle.release:
        members["release"] = settle.release
    if settle.extend_ms is not None:
        members["extend_ms"] = settle.extend_ms
    return members
