"""The routes of subscriptions: making, looking, changing, moving; and those of their parts."""

from urllib.parse import urlencode

import msgspec
from aiohttp import web

from aggregator.access.checks import check_covered
from aggregator.access.entries import Entry
from aggregator.http.command_requests import (
    CommandBodies,
    refuse_parameters,
    subscription_name,
)
from aggregator.http.dead_letter_routes import DeadLetterRoutes
from aggregator.http.json_responses import json_response, link_header
from aggregator.http.lease_routes import LeaseRoutes
from aggregator.http.middleware import send_continue
from aggregator.http.read_response import ReadResponse
from aggregator.http.rights import entry_of
from aggregator.reading.read_limit import ReadLimit
from aggregator.subscriptions.protocols import SubscriptionService
from aggregator.wire.errors import InvalidRequest
from aggregator.wire.subscription_answers import (
    SubscriptionStatus,
    listed_answer,
    sought_answer,
    status_answer,
)
from aggregator.wire.subscription_moves import parse_nothing, parse_seek
from aggregator.wire.subscription_query import parse_list_query, parse_status_query
from aggregator.wire.subscription_settings import (
    parse_change,
    parse_settings,
    subscription_name_rule_broken,
)
from storage.subscriptions.model import Subscription


class SubscriptionRoutes:
    """The handlers of `/subscriptions`, over the parts they are given.

    Args:
        service: the subscriptions.
        reads: the number of reads at once.
        body_timeout_s: longest time to wait for all of a body, in seconds.
    """

    def __init__(
        self, *, service: SubscriptionService, reads: ReadLimit, body_timeout_s: float
    ) -> None:
        self._service = service
        self._reads = reads
        self._bodies = CommandBodies(body_timeout_s)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract that are about subscriptions."""
        # Not the default pattern: a name with a brace in it is to be told its rule.
        path = "/subscriptions/{name:[^/]+}"
        return [
            # First: aiohttp tries one after the other, and these are asked for all the time.
            *LeaseRoutes(self._service, self._bodies).routes(),
            web.get("/subscriptions", self.listed, expect_handler=send_continue),
            web.get(path, self.status, expect_handler=send_continue),
            web.put(path, self.put, expect_handler=send_continue),
            web.patch(path, self.change, expect_handler=send_continue),
            web.delete(path, self.delete, expect_handler=send_continue),
            *DeadLetterRoutes(self._service, self._bodies, self._reads).routes(),
            web.post(f"{path}/seek", self.seek, expect_handler=send_continue),
            web.post(f"{path}/pause", self.pause, expect_handler=send_continue),
            web.post(f"{path}/resume", self.resume, expect_handler=send_continue),
        ]

    async def listed(self, request: web.Request) -> ReadResponse:
        """GET /subscriptions: a page of them, by name, without counts."""
        wanted = parse_list_query(request.rel_url.raw_query_string)
        with self._reads:
            # One more tells whether there is another page.
            found = await self._listed(entry_of(request), wanted.after, wanted.limit + 1)
        page = found[: wanted.limit]
        headers: dict[str, str] = {}
        if len(found) > wanted.limit:
            headers = link_header(wanted.next_target(page[-1].name))
        headers["Vary"] = "Accept-Encoding"
        return ReadResponse([listed_answer(page)], headers)

    async def _listed(self, entry: Entry, after: str, limit: int) -> list[Subscription]:
        """Return subscriptions that may be used, by name."""
        found: list[Subscription] = []
        while len(found) < limit:
            page = await self._service.listed(after, limit)
            found += [each for each in page if entry.may_subscribe(each.name)]
            if len(page) < limit:
                break
            after = page[-1].name
        return found[:limit]

    async def status(self, request: web.Request) -> ReadResponse:
        """GET /subscriptions/{name}: one with its counts, from one snapshot."""
        topics_after = parse_status_query(request.rel_url.raw_query_string)
        name = subscription_name(request)
        with self._reads:
            status = await self._service.status(name, topics_after)
        return _response(status)

    async def put(self, request: web.Request) -> ReadResponse:
        """PUT /subscriptions/{name}: it is there, with these settings."""
        name = request.match_info["name"]
        if broken := subscription_name_rule_broken(name):
            raise InvalidRequest(f"the name of a subscription {broken}")
        settings = parse_settings(await self._bodies.read(request))
        entry = entry_of(request)
        check_covered(entry, settings.topics)
        made = await self._service.put(name, settings, entry)
        response = await self._as_it_is(name)
        response.set_status(201 if made else 200)
        return response

    async def change(self, request: web.Request) -> ReadResponse:
        """PATCH /subscriptions/{name}: some settings anew."""
        body = await self._bodies.read(request)
        name = subscription_name(request)
        change = parse_change(name, body)
        if change.topics is not msgspec.UNSET:
            check_covered(entry_of(request), change.topics)
        await self._service.change(change)
        return await self._as_it_is(name)

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /subscriptions/{name}: it is gone, with all that was kept of it."""
        refuse_parameters(request)
        await self._service.delete(subscription_name(request))
        return web.Response(status=204)

    async def seek(self, request: web.Request) -> web.Response:
        """POST …/seek: its topics begin elsewhere."""
        wanted = parse_seek(await self._bodies.read(request))
        name = subscription_name(request)
        sought = await self._service.seek(name, wanted.begins, wanted.dry_run)
        return json_response(sought_answer(sought))

    async def pause(self, request: web.Request) -> ReadResponse:
        """POST …/pause: no leases until it is resumed."""
        parse_nothing(await self._bodies.read(request))
        name = subscription_name(request)
        await self._service.pause(name)
        return await self._as_it_is(name, path=f"../{name}")

    async def resume(self, request: web.Request) -> ReadResponse:
        """POST …/resume: leases go on."""
        parse_nothing(await self._bodies.read(request))
        name = subscription_name(request)
        await self._service.resume(name)
        return await self._as_it_is(name, path=f"../{name}")

    async def _as_it_is(self, name: str, path: str = "") -> ReadResponse:
        # No turn of a read: what was asked for is done, and is to be answered so.
        return _response(await self._service.status(name, ""), path)


def _response(status: SubscriptionStatus, path: str = "") -> ReadResponse:
    """Return a response with a subscription.

    Args:
        status: the subscription.
        path: where it is, relative to the request.
    """
    headers: dict[str, str] = {}
    if status.more:
        headers = link_header(f"{path}?{urlencode({'topics_after': max(status.topics)})}")
    headers["Vary"] = "Accept-Encoding"
    return ReadResponse([status_answer(status)], headers)
