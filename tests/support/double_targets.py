"""What answers the cases of `tests/contract/cases`: a double of an aggregator, and a real one."""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from io import BytesIO
from typing import Any

from subscriber.calls.requests import Death, Leased, Retry, Settle, Settled
from subscriber.errors import LeaseLost, SubscriptionRefused
from subscriber.testing import DeadLetter, InMemoryAggregator
from support.double_cases import Answer
from support.http import Client
from support.talking import JSON


class RealTarget:
    """A real aggregator over HTTP.

    Args:
        client: of it.
        let_pass: called with milliseconds, which pass by the clock of its database.
    """

    def __init__(self, client: Client, let_pass: Callable[[int], object]) -> None:
        self._client = client
        self._let_pass = let_pass

    async def send(self, method: str, path: str, body: Any) -> Answer:
        """See `Target`."""
        data = None if body is None else BytesIO(json.dumps(body).encode())
        response = await self._client.request(method, path, data=data, headers=JSON)
        text = await response.text()
        return Answer(response.status, json.loads(text) if text else None)

    def let_pass(self, ms: int) -> None:
        """See `Target`."""
        self._let_pass(ms)


class DoubleTarget:
    """A double of an aggregator, by the names that the real one has in HTTP."""

    def __init__(self) -> None:
        self.aggregator = InMemoryAggregator()
        self._calls = self.aggregator.calls()

    def let_pass(self, ms: int) -> None:
        """See `Target`."""
        self.aggregator.advance(ms / 1000)

    async def send(self, method: str, path: str, body: Any) -> Answer:
        """See `Target`."""
        if path == "/publish":
            return Answer(200, {"results": [self._publish(each) for each in body]})
        _, name, *rest = path.removeprefix("/").split("/")
        handlers: Mapping[tuple[str, str], Callable[[str, Any], Awaitable[Answer]]] = {
            ("PUT", ""): self._make,
            ("GET", ""): self._look,
            ("DELETE", ""): self._delete,
            ("POST", "lease"): self._lease,
            ("POST", "settle"): self._settle,
            ("POST", "seek"): self._seek,
            ("POST", "pause"): self._pause,
            ("POST", "resume"): self._resume,
            ("GET", "dead"): self._dead,
            ("POST", "dead/retry"): self._retry_dead,
        }
        try:
            if method == "DELETE" and rest:
                self.aggregator.drop_dead(name, rest[1], int(rest[2]))
                return Answer(204, None)
            return await handlers[method, "/".join(rest)](name, body)
        except SubscriptionRefused as error:
            code = "settings_differ" if error.status == HTTPStatus.CONFLICT else None
            return Answer(error.status or 0, {"detail": error.detail, "code": code})
        except LeaseLost as error:
            return Answer(409, {"detail": str(error), "code": "lease_lost"})

    def _publish(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.aggregator.publish(**event)._asdict()

    async def _make(self, name: str, body: Any) -> Answer:
        made = self.aggregator.create(name, body)
        return Answer(201 if made else 200, self._status(name))

    async def _look(self, name: str, _: Any) -> Answer:
        return Answer(200, self._status(name))

    async def _delete(self, name: str, _: Any) -> Answer:
        self.aggregator.delete(name)
        return Answer(204, None)

    async def _pause(self, name: str, _: Any) -> Answer:
        self.aggregator.pause(name)
        return Answer(200, self._status(name))

    async def _resume(self, name: str, _: Any) -> Answer:
        self.aggregator.resume(name)
        return Answer(200, self._status(name))

    async def _lease(self, name: str, body: Any) -> Answer:
        settle = settle_of(body["settle"]) if "settle" in body else None
        leased = await self._calls.lease(
            name, body["consumer"], body.get("max_events", 100), body.get("wait_ms", 0), settle
        )
        return Answer(200, lease_answer(leased))

    async def _settle(self, name: str, body: Any) -> Answer:
        return Answer(200, settle_answer(await self._calls.settle(name, settle_of(body))))

    async def _seek(self, name: str, body: Any) -> Answer:
        sought = self.aggregator.seek(name, body["from"], dry_run=body.get("dry_run", False))
        return Answer(200, sought._asdict())

    async def _dead(self, name: str, _: Any) -> Answer:
        return Answer(200, [dead_letter(each) for each in self.aggregator.dead_letters(name)])

    async def _retry_dead(self, name: str, body: Any) -> Answer:
        return Answer(200, self.aggregator.retry_dead(name, body.get("offsets"))._asdict())

    def _status(self, name: str) -> dict[str, Any]:
        status = dataclasses.asdict(self.aggregator.subscription(name))
        return status | {"topics_total": len(status["topics"])}


def settle_of(body: Mapping[str, Any]) -> Settle:
    """A settle as it is sent in HTTP."""
    return Settle(
        lease=body["lease"],
        ack=body.get("ack", ()),
        retry=[
            Retry(each["topic"], each["offset"], each.get("after_ms"), each.get("error"))
            for each in body.get("retry", ())
        ],
        dead=[
            Death(each["topic"], each["offset"], each.get("error")) for each in body.get("dead", ())
        ],
        release=body.get("release", ()),
        extend_ms=body.get("extend_ms"),
    )


def lease_answer(leased: Leased) -> dict[str, Any]:
    """A lease as it is answered in HTTP."""
    answer: dict[str, Any] = {
        "lease": leased.lease,
        "expires_in_ms": None if leased.lease is None else round(leased.expires_in_s * 1000),
        "deliveries": [
            {"delivery": each.delivery, "event": json.loads(each.json)}
            for each in leased.deliveries
        ],
        "lag": {"events": leased.lag_events, "seconds": leased.lag_seconds},
    }
    for each in leased.deliveries:
        event = json.loads(each.json)
        assert (each.topic, each.offset) == (event["topic"], event["offset"])
    if leased.settled is not None:
        answer["settled"] = settle_answer(leased.settled)
    return answer


def settle_answer(settled: Settled) -> dict[str, Any]:
    """The answer to a settle in HTTP."""
    answer = settled._asdict()
    expires_in_s = answer.pop("expires_in_s")
    return answer | {"expires_in_ms": None if expires_in_s is None else round(expires_in_s * 1000)}


def dead_letter(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter in HTTP, without its times."""
    members = dataclasses.asdict(letter) | {"event": json.loads(letter.event.json)}
    return {name: each for name, each in members.items() if not name.endswith("_at")}
