"""The routes of consumers: leases, which may be waited for, and settles."""

import asyncio

import structlog
from aiohttp import web
from msgspec.structs import replace

from aggregator.http.command_requests import CommandBodies, subscription_name
from aggregator.http.connection import Connection
from aggregator.http.json_responses import json_response
from aggregator.http.middleware import REQUEST_CONTEXT, send_continue
from aggregator.http.read_response import ReadResponse
from aggregator.http.rights import entry_of
from aggregator.observability.labels import LEASE_WAITS_PATH
from aggregator.subscriptions.errors import SubscriptionRefused
from aggregator.subscriptions.protocols import SubscriptionService
from aggregator.wire.lease_request import LeaseRequest, parse_lease
from aggregator.wire.settle_request import parse_settle
from aggregator.wire.subscription_answers import LeaseAnswer, lease_answer, settled_answer
from storage.subscriptions.commands import Token

_VARY = {"Vary": "Accept-Encoding"}
_GIVEN_UP = b'{"lease":null,"expires_at":null,"expires_in_ms":null,"deliveries":[],"lag":null}'

_LARGE_BYTES = 2**20
_MAX_HOLD_S = 1.0
"""How long an answer that is large, and not taken, keeps its memory from leases to come."""

_log = structlog.get_logger()


class LeaseRoutes:
    """The handlers of leases and settles.

    Args:
        service: leases and settles.
        bodies: reads the bodies of requests.
    """

    def __init__(self, service: SubscriptionService, bodies: CommandBodies) -> None:
        self._service = service
        self._bodies = bodies
        self._releasing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        path = "/subscriptions/{name:[^/]+}"
        return [
            web.post(f"{path}/lease", self.lease, expect_handler=send_continue),
            web.post(f"{path}/settle", self.settle, expect_handler=send_continue),
        ]

    async def lease(self, request: web.Request) -> ReadResponse:
        """POST …/lease: events, at once or as soon as there are any.

        A lease whose answer is not sent as a whole is released.
        """
        wanted = parse_lease(await self._bodies.read(request))
        name = subscription_name(request)
        await self._service.check_topics(name, entry_of(request))
        if wanted.wait_ms:
            # The time that it is held says nothing of how long leasing takes.
            context = replace(request[REQUEST_CONTEXT], route=LEASE_WAITS_PATH)
            request[REQUEST_CONTEXT] = context
        answer = await self._while_there(request, name, wanted)
        if answer is None:
            return ReadResponse([_GIVEN_UP], _VARY)
        try:
            response = ReadResponse(lease_answer(answer), _VARY)
        except Exception:
            self._sent(name, answer, complete=False)
            raise
        response.on_sent = lambda complete: self._sent(name, answer, complete=complete)
        if response.size < _LARGE_BYTES:
            answer.done()
        else:
            # Who takes it gets it before others are read; who does not keeps nobody from theirs,
            # and is cut off with the other answers on their way.
            asyncio.get_running_loop().call_later(_MAX_HOLD_S, answer.done)
        return response

    async def settle(self, request: web.Request) -> web.Response:
        """POST …/settle: answered only after it is durable."""
        wanted = parse_settle(await self._bodies.read(request))
        settled = await self._service.settle(subscription_name(request), wanted)
        return json_response(settled_answer(settled))

    async def _while_there(
        self, request: web.Request, name: str, wanted: LeaseRequest
    ) -> LeaseAnswer | None:
        """Lease while the client is there; None: it has gone, and has no lease."""
        connection = request.protocol
        if not isinstance(connection, Connection):
            return await self._service.lease(name, wanted)
        if _gone(connection):
            # Whether it is still there for the answer nobody knows; it gets what is there now, as
            # one does that ends its side behind a request without a wait.
            return await self._service.lease(name, replace(wanted, wait_ms=0))
        leasing = asyncio.ensure_future(self._service.lease(name, wanted))
        connection.on_gone = leasing.cancel
        try:
            answer = await leasing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not _gone(connection) or (task is not None and task.cancelling()):
                raise
            return None
        finally:
            connection.on_gone = None
        if _gone(connection):
            self._sent(name, answer, complete=False)
            return None
        return answer

    def _sent(self, name: str, answer: LeaseAnswer, *, complete: bool) -> None:
        """Free the memory of an answer, and release its lease if its client does not have it."""
        answer.done()
        if answer.token is not None and not complete:
            self._release(name, answer.token)

    def _release(self, name: str, token: Token) -> None:
        """Release a lease that its client does not have, without waiting for that."""
        releasing = asyncio.ensure_future(self._released(name, token))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)

    async def _released(self, name: str, token: Token) -> None:
        try:
            await self._service.released(name, token)
        except SubscriptionRefused:
            # It is over already, and so there is nothing to hand back.
            return
        except Exception as error:  # noqa: BLE001 - nobody else is told
            _log.warning("lease_not_released", subscription=name, reason=str(error) or repr(error))


def _gone(connection: Connection) -> bool:
    return connection.gone
