"""The routes of dead letters."""

import re

from aiohttp import web

from aggregator.http.command_requests import (
    CommandBodies,
    refuse_parameters,
    subscription_name,
)
from aggregator.http.json_responses import json_response, link_header
from aggregator.http.middleware import send_continue
from aggregator.http.read_response import ReadResponse
from aggregator.http.rights import entry_of
from aggregator.reading.read_limit import ReadLimit
from aggregator.subscriptions.errors import NoSuchDeadLetter
from aggregator.subscriptions.protocols import SubscriptionService
from aggregator.wire.event_rules import topic_rule_broken
from aggregator.wire.subscription_answers import dead_letters_answer, retried_answer
from aggregator.wire.subscription_moves import parse_retry_dead
from aggregator.wire.subscription_query import parse_dead_letters_query
from storage.model import INT64_MAX, PAGE_BYTES

_OFFSET = re.compile(r"[0-9]{1,19}", re.ASCII)


class DeadLetterRoutes:
    """The handlers of dead letters.

    Args:
        service: the subscriptions.
        bodies: reads the bodies of requests.
        reads: the number of reads at once.
    """

    def __init__(
        self, service: SubscriptionService, bodies: CommandBodies, reads: ReadLimit
    ) -> None:
        self._service = service
        self._bodies = bodies
        self._reads = reads

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        path = "/subscriptions/{name:[^/]+}/dead"
        return [
            web.get(path, self.dead_letters, expect_handler=send_continue),
            web.post(f"{path}/retry", self.retry, expect_handler=send_continue),
            web.delete(
                f"{path}/{{topic:[^/]+}}/{{offset:[^/]+}}", self.drop, expect_handler=send_continue
            ),
        ]

    async def dead_letters(self, request: web.Request) -> ReadResponse:
        """GET …/dead: a page of dead letters, each with its event."""
        wanted = parse_dead_letters_query(request.rel_url.raw_query_string)
        name = subscription_name(request)
        await self._service.check_topics(name, entry_of(request))
        with self._reads:
            # One more tells whether there is another page.
            found = await self._service.dead_letters(name, wanted.after, wanted.limit + 1)
        letters = found[: wanted.limit]
        headers: dict[str, str] = {}
        if len(found) > wanted.limit or sum(len(event) for _, event in found) >= PAGE_BYTES:
            last = letters[-1][0]
            headers = link_header(wanted.next_target((last.topic, last.offset)))
        headers["Vary"] = "Accept-Encoding"
        return ReadResponse(dead_letters_answer(letters), headers)

    async def retry(self, request: web.Request) -> web.Response:
        """POST …/dead/retry: dead letters that wait again."""
        offsets = parse_retry_dead(await self._bodies.read(request))
        retried = await self._service.retry_dead(subscription_name(request), offsets)
        return json_response(retried_answer(retried))

    async def drop(self, request: web.Request) -> web.Response:
        """DELETE …/dead/{topic}/{offset}: a dead letter that is acknowledged."""
        refuse_parameters(request)
        name = subscription_name(request)
        topic, offset = request.match_info["topic"], request.match_info["offset"]
        if (
            topic_rule_broken(topic)
            or _OFFSET.fullmatch(offset) is None
            or not 1 <= int(offset) <= INT64_MAX
        ):
            # It is not stored, and a database may refuse to be asked for it.
            raise NoSuchDeadLetter(f"{topic[:64]!r} {offset[:64]} is no dead letter of {name!r}")
        await self._service.drop_dead(name, topic, int(offset))
        return web.Response(status=204)
