"""A single connection to a stream: the request, its blocks, and how each failure is classed."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Self

import aiohttp
from yarl import URL

from publisher.credentials import Credentials, Presented
from publisher.refusals import one_line, reason_of, retry_after_s
from publisher.tokens import CredentialsInvalid, TokenUnavailable
from publisher.user_agent import user_agent
from subscriber.errors import FollowRefused
from subscriber.event_stream import Block, BlockTooLarge, EventStreamParser
from subscriber.failures import failure_of

_MEDIA_TYPE = "text/event-stream"
_HEADERS = {
    "Accept": _MEDIA_TYPE,
    "Accept-Encoding": "identity",
    "Cache-Control": "no-store",
    "User-Agent": user_agent("subscriber"),
}
_REFUSAL_BYTES = 64 * 1024


class StreamLost(Exception):
    """There is no stream, or no more of it, for a reason that may pass; one sentence.

    Args:
        reason: the sentence.
        wait_s: the least wait that the server asks for, in seconds.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Connection:
    """The answer to one request for a stream; `Connection.opened` gives one."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        url: URL,
        silence_s: float,
        presented: Presented,
    ) -> None:
        self._response = response
        self._presented = presented
        self._url = url
        self._silence_s = silence_s
        self._parser = EventStreamParser()

    @classmethod
    async def opened(
        cls,
        session: aiohttp.ClientSession,
        url: URL,
        headers: Mapping[str, str],
        silence_s: float,
        credentials: Credentials,
    ) -> Self:
        """Send the request and wait until its answer begins.

        Args:
            session: the HTTP session to send it with.
            url: the URL of `/events`, with its query.
            headers: headers beside those of every stream.
            silence_s: the longest wait for the connection, and for each next byte, in seconds.
            credentials: what is shown with the request.

        Raises:
            StreamLost: another attempt may succeed.
            FollowRefused: another attempt would not change the result.
        """
        try:
            presented = credentials.present()
        except TokenUnavailable as error:
            raise StreamLost(str(error)) from error
        except CredentialsInvalid as error:
            raise FollowRefused(None, str(error)) from error
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)
        try:
            response = await session.get(
                url,
                headers={**_HEADERS, **presented.headers, **headers},
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            raise _failure_of(error, url, silence_s) from error
        connection = cls(response, url, silence_s, presented)
        try:
            await connection._check()
        except BaseException:
            connection.close()
            raise
        return connection

    async def blocks(self) -> list[Block]:
        """Return the blocks of what came since the last call, waiting until something has come.

        Returns:
            The blocks, none where what came completes none. After a cancellation the next call goes
            on where this one was.

        Raises:
            StreamLost: the answer has ended, was cut off, or is silent.
            FollowRefused: the answer is not that of an aggregator.
        """
        piece = await self._read()
        if not piece:
            raise StreamLost("the stream has ended")
        try:
            return self._parser.feed(piece)
        except BlockTooLarge as error:
            raise FollowRefused(self._response.status, str(error)) from error

    def close(self) -> None:
        """Close the connection at once."""
        self._response.close()

    async def _check(self) -> None:
        response = self._response
        if response.status != HTTPStatus.OK:
            presented = self._presented
            reason, may_pass = presented.refusal(
                response.status,
                reason_of(response, await self._refusal(), hide=presented.hide, names_event=False),
            )
            if (
                may_pass
                or response.status == HTTPStatus.TOO_MANY_REQUESTS
                or response.status >= 500
            ):
                raise StreamLost(f"{response.status} {reason}", retry_after_s(response))
            raise FollowRefused(response.status, reason)
        content_type = response.content_type
        if content_type != _MEDIA_TYPE:
            detail = f"not the stream of an aggregator, but {one_line(content_type)}"
            raise FollowRefused(response.status, detail)
        if encoding := response.headers.get("Content-Encoding"):
            detail = f"its encoding is {one_line(encoding)!r}, which was not asked for"
            raise FollowRefused(response.status, detail)

    async def _refusal(self) -> bytes:
        body = bytearray()
        while len(body) <= _REFUSAL_BYTES and (piece := await self._read()):
            body += piece
        return bytes(body)

    async def _read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure_of(error, self._url, self._silence_s) from error


def _failure_of(error: Exception, url: URL, silence_s: float) -> StreamLost | FollowRefused:
    """Class the failure of a request, or of reading its answer."""
    if isinstance(error, TimeoutError):
        return StreamLost(f"nothing came for {silence_s:g} s")
    failure = failure_of(error, url, "stream")
    if failure.may_pass:
        return StreamLost(failure.sentence)
    return FollowRefused(None, failure.sentence)
